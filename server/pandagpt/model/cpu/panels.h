// Matrices packed into panels, and where a product's sums go.
#pragma once

#include "vectors.h"

// One panel is this many rows of a matrix (columns of its output), side by side for each input.
constexpr int PANEL = 2 * LANES;

// How far ahead of their use weights are asked for, in elements.
constexpr int AHEAD = 64 * PANEL;

enum Type : int32_t { FLOAT = 0, HALF = 1, INT8 = 2, INT16 = 3 };

struct Matrix {
  const void* data;     // [panel][num_in][PANEL]; integers: [panel][group][WORDS][PANEL][IN_WORD]
  const upper* scales;  // integers: [panel][group][PANEL]; else null
  int32_t num_out, num_in;
};

namespace {

// Neighbouring panels as a product reads them: its outputs from `column` on.
template <class W>
struct Panels {
  const W* weights;
  const upper* scales;
  int num_in, num_out, column;
};

// LANES sums to one token's outputs from `column` on, as far as there are any.
inline void put(vec sums, int column, int num_out, bool add, float* outputs) {
  float* to = outputs + column;
  const int width = num_out - column;
  if (width >= LANES) return store(to, add ? load(to) + sums : sums);
  float lanes[LANES];
  store(lanes, sums);
  for (int j = 0; j < width; ++j) to[j] = add ? to[j] + lanes[j] : lanes[j];
}

template <int m, int vecs>
void put(const vec (&sums)[m][vecs], int column, int num_out, bool add, float* outputs) {
  for (int v = 0; v < vecs; ++v)
    for (int i = 0; i < m; ++i)
      put(sums[i][v], column + v * LANES, num_out, add, outputs + size_t(i) * num_out);
}

}  // namespace
