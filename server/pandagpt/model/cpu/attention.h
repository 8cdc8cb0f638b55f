// Queries against the keys and values of their sequence, which the cache keeps as float or half.
#pragma once

#include <algorithm>
#include <type_traits>

#include "vectors.h"

namespace {

template <int count>
using Count = std::integral_constant<int, count>;

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

// Queries of neighbouring tokens meet a key or a value together: it is loaded once for all. Each
// keeps its own order of sums.
constexpr int QUERIES = LANES / 4;

// The products of some queries with a block of keys. Four sums, so that none waits for the last.
template <int queries, class KV>
void block_scores(const float* q, size_t q_width, const KV* keys, int dim, vec (&scores)[queries]) {
  vec sums[queries][4] = {};
  int d = 0;
  for (; d + 4 <= dim; d += 4)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const vec key = load(keys + (d + i) * LANES);
#pragma GCC unroll 4
      for (int j = 0; j < queries; ++j) sums[j][i] += q[j * q_width + d + i] * key;
    }
  for (; d < dim; ++d)
    for (int j = 0; j < queries; ++j) sums[j][0] += q[j * q_width + d] * load(keys + d * LANES);
  for (int j = 0; j < queries; ++j)
    scores[j] = (sums[j][0] + sums[j][1]) + (sums[j][2] + sums[j][3]);
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

// `count` vectors of the values' weighted sums; even and odd positions are summed apart. The first
// query sees `length` positions, each other one more than the one before.
template <int queries, int count, class KV>
void mix(const float* weights, size_t weights_width, const KV* values, int length, int dim,
         const float (&shares)[queries], float* out, size_t out_width) {
  vec sums[queries][2][count] = {};
  int s = 0;
  for (; s + 2 <= length; s += 2)
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd)
#pragma GCC unroll 4
      for (int v = 0; v < count; ++v) {
        const vec value = load(values + size_t(s + odd) * dim + v * LANES);
#pragma GCC unroll 4
        for (int j = 0; j < queries; ++j)
          sums[j][odd][v] += weights[j * weights_width + s + odd] * value;
      }
  for (int j = 0; j < queries; ++j)
    for (int last = s; last < length + j; ++last)
      for (int v = 0; v < count; ++v)
        sums[j][(last - s) % 2][v] +=
            weights[j * weights_width + last] * load(values + size_t(last) * dim + v * LANES);
  for (int j = 0; j < queries; ++j)
    for (int v = 0; v < count; ++v)
      store(out + j * out_width + v * LANES, (sums[j][0][v] + sums[j][1][v]) * shares[j]);
}

// Queries [queries][q_width] of one head against its keys and values, of which the first sees
// `length`, each other one more. `scores` [queries][scores_width] has room for whole blocks.
template <int queries, class KV>
void attend(const float* q, size_t q_width, const KV* keys, const KV* values, int length, int dim,
            float* scores, size_t scores_width, float* out, size_t out_width) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (int s = 0; s < length + queries - 1; s += LANES) {
    vec block[queries];
    block_scores<queries>(q, q_width, keys + size_t(s) * dim, dim, block);
    for (int j = 0; j < queries; ++j) store(scores + j * scores_width + s, block[j] * scale);
  }
  float shares[queries];
  for (int j = 0; j < queries; ++j) {
    float* own = scores + j * scores_width;
    shares[j] = 1.0f / soften(own, length + j, *std::max_element(own, own + length + j));
  }
  int d = 0;
  const auto mix_by = [&](auto count) {
    for (; d + count() * LANES <= dim; d += count() * LANES)
      mix<queries, count()>(scores, scores_width, values + d, length, dim, shares, out + d,
                            out_width);
  };
  if constexpr (queries == 1) mix_by(Count<4>{});
  mix_by(Count<2>{});
  mix_by(Count<1>{});
  for (; d < dim; ++d)
    for (int j = 0; j < queries; ++j) {
      float mixed = 0;
      for (int s = 0; s < length + j; ++s)
        mixed += scores[j * scores_width + s] * static_cast<float>(values[size_t(s) * dim + d]);
      out[j * out_width + d] = mixed * shares[j];
    }
}

}  // namespace
