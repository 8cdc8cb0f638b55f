// One query against the keys and values of its sequence, which the cache keeps as float or half.
#pragma once

#include <algorithm>

#include "vectors.h"

namespace {

// Keys stand in blocks of LANES positions, [block][dim][LANES]: a query meets a whole block at once,
// and no sum runs across lanes.
template <class KV>
void keep_key(KV* keys, const float* from, int position, int dim) {
  KV* to = keys + size_t(position / LANES) * LANES * dim + position % LANES;
  for (int d = 0; d < dim; ++d) to[d * LANES] = static_cast<KV>(from[d]);
}

template <class KV>
void keep_value(KV* values, const float* from, int position, int dim) {
  KV* to = values + size_t(position) * dim;
  int d = 0;
  for (; d + LANES <= dim; d += LANES) store(to + d, load(from + d));
  for (; d < dim; ++d) to[d] = static_cast<KV>(from[d]);
}

// The products of one query with a block of keys. Four sums, so that none waits for the last.
template <class KV>
vec block_scores(const float* q, const KV* keys, int dim) {
  vec sums[4] = {};
  int d = 0;
  for (; d + 4 <= dim; d += 4)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[i] += q[d + i] * load(keys + (d + i) * LANES);
  for (; d < dim; ++d) sums[0] += q[d] * load(keys + d * LANES);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Scores of positions 0 ... length - 1 to e^(score - largest); returns their sum.
float soften(float* scores, int length, float largest) {
  std::fill(scores + length, scores + (length + LANES - 1) / LANES * LANES, -INFINITY);
  vec total{};
  for (int s = 0; s < length; s += LANES) {
    vec weight = exponential(load(scores + s) - largest);
    store(scores + s, weight);
    total += weight;
  }
  return sum(total);
}

// `count` vectors of the values' weighted sum; even and odd positions are summed apart.
template <class KV, int count>
void mix(const float* weights, const KV* values, int length, int dim, float share, float* out) {
  vec sums[2][count] = {};
  int s = 0;
  for (; s + 2 <= length; s += 2)
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd)
#pragma GCC unroll 4
      for (int v = 0; v < count; ++v)
        sums[odd][v] += weights[s + odd] * load(values + size_t(s + odd) * dim + v * LANES);
  if (s < length)
    for (int v = 0; v < count; ++v)
      sums[0][v] += weights[s] * load(values + size_t(s) * dim + v * LANES);
  for (int v = 0; v < count; ++v) store(out + v * LANES, (sums[0][v] + sums[1][v]) * share);
}

// One query against `length` keys and values of one head. `scores` has room for whole blocks.
template <class KV>
void attend(const float* q, const KV* keys, const KV* values, int length, int dim, float* scores,
            float* out) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (int s = 0; s < length; s += LANES)
    store(scores + s, block_scores(q, keys + size_t(s) * dim, dim) * scale);
  const float share = 1.0f / soften(scores, length, *std::max_element(scores, scores + length));
  int d = 0;
  for (; d + 4 * LANES <= dim; d += 4 * LANES)
    mix<KV, 4>(scores, values + d, length, dim, share, out + d);
  for (; d + 2 * LANES <= dim; d += 2 * LANES)
    mix<KV, 2>(scores, values + d, length, dim, share, out + d);
  for (; d + LANES <= dim; d += LANES)
    mix<KV, 1>(scores, values + d, length, dim, share, out + d);
  for (; d < dim; ++d) {
    float mixed = 0;
    for (int s = 0; s < length; ++s)
      mixed += scores[s] * static_cast<float>(values[size_t(s) * dim + d]);
    out[d] = mixed * share;
  }
}

}  // namespace
