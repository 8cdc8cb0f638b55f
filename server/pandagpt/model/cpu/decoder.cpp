// LLaMA's forward pass on CPUs: a flat batch of tokens in, their hidden states out.
//
// Compiled on the machine it runs on (compiler.py) and called through a plain C interface, once a
// step: for small models the calls of a step cost more than its arithmetic. Holds no state; all
// memory belongs to the caller (decoder.py, whose structures mirror those below).
//
// Every number of a token is summed in one fixed order, whatever else is in the batch: a sequence
// computed alone, beside others, whole or in chunks gives the same bits.
//
// Weights are float, half or int8, packed by `pack`; activations and sums are float; keys and values
// are float or half. Products with int8 weights are of integers: GROUP inputs share a scale, in each
// row of a matrix and in each token.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE = 12;
#else
constexpr int LANES = 8, TILE = 6;
#endif

using half = _Float16;
typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(int32_t))));

// One panel is this many rows of a matrix (columns of its output), side by side for each input.
// TILE tokens times its two vectors, and the loads beside them, fill the vector registers.
constexpr int PANEL = 2 * LANES;

// int8: inputs that share a scale, the words of four that they are read in, and a tile's tokens,
// whose integer sums stand beside the float ones.
constexpr int GROUP = 32, WORDS = GROUP / 4, INT8_TILE = LANES / 2;

// How far ahead of their use weights are asked for, in elements.
constexpr int AHEAD = 64 * PANEL;

extern "C" {

enum Type : int32_t { FLOAT = 0, HALF = 1, INT8 = 2 };

struct Matrix {
  const void* data;     // [panel][num_in][PANEL]; int8: [panel][group][WORDS][PANEL][4]
  const float* scales;  // int8: [panel][group][PANEL]; else null
  int32_t num_out, num_in;
};

struct Layer {
  const float *attention_norm, *mlp_norm;
  Matrix qkv, out, gate_up, down;
};

struct Model {
  int32_t hidden, inner, num_layers, num_heads, num_kv_heads, head_dim;
  int32_t weight_type, patch_type, kv_type, num_threads;
  float eps;
  const float* rotary;  // [position][2][head_dim]: cosines, and sines that bear the signs
  const float* norm;
  const Layer* layers;
  Matrix head;
};

enum Place : int32_t { QKV, OUT, GATE_UP, DOWN, NUM_PLACES };

// Another model on the same weights: b (a x) is added to a fused matrix' outputs from `first` on.
struct Patch {
  Matrix a, b;
  int32_t first;
};

// One such model's patches, and the tokens of the batch that are its own.
struct Patched {
  const Patch* patches;   // by layer and place
  const int32_t* starts;  // [num_layers * NUM_PLACES + 1]: where those of each begin
  const int32_t* tokens;
  int32_t num_tokens;
};

struct Cache {
  void* slab;  // [layer][key, value][row][key head][capacity * head_dim]; see `keep_key`
  int32_t num_rows, capacity;  // a capacity is whole blocks
};

}  // extern "C"

namespace {

// Room for numbers that are written before they are read: a vector would zero it at every step.
template <class T>
struct Buffer {
  std::unique_ptr<T[]> memory;

  explicit Buffer(size_t length) : memory(new T[length]) {}
  T* data() const { return memory.get(); }
};

template <class T>
inline vec splat(T value) {
  return vec{} + static_cast<float>(value);
}

inline vec load(const float* from) {
  vec to;
  std::memcpy(&to, from, sizeof to);
  return to;
}

inline void store(float* to, vec from) { std::memcpy(to, &from, sizeof from); }

#if defined(__AVX512F__)
inline vec load(const half* from) {
  return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
}
inline void store(half* to, vec from) {
  _mm256_storeu_si256((__m256i*)to, _mm512_cvtps_ph((__m512)from, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__AVX2__) && defined(__F16C__)
inline vec load(const half* from) {
  return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
}
inline void store(half* to, vec from) {
  _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph((__m256)from, _MM_FROUND_TO_NEAREST_INT));
}
#else
inline vec load(const half* from) {
  typedef half narrow __attribute__((vector_size(LANES * sizeof(half))));
  narrow packed;
  std::memcpy(&packed, from, sizeof packed);
  return __builtin_convertvector(packed, vec);
}
inline void store(half* to, vec from) {
  typedef half narrow __attribute__((vector_size(LANES * sizeof(half))));
  narrow packed = __builtin_convertvector(from, narrow);
  std::memcpy(to, &packed, sizeof packed);
}
#endif

inline float sum(vec v) {
  float lanes[LANES], total = 0;
  store(lanes, v);
  for (int step = LANES / 2; step; step /= 2)
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  return total + lanes[0];
}

// e^x within 2 units of the last place (Cephes' polynomial; 2^n by the exponent's bits).
inline vec exponential(vec x) {
  x = x < -87.0f ? splat(-87.0f) : x;
  x = x > 88.0f ? splat(88.0f) : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  vec n = (x * 1.44269504f + magic) - magic;
  vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  ivec exponent = (__builtin_convertvector(n, ivec) + 127) << 23;
  vec power;
  std::memcpy(&power, &exponent, sizeof power);
  return p * power;
}

inline float dot(const float* a, const float* b, int length) {
  vec total{};
  int i = 0;
  for (; i + LANES <= length; i += LANES) total += load(a + i) * load(b + i);
  float rest = sum(total);
  for (; i < length; ++i) rest += a[i] * b[i];
  return rest;
}

// -- matrix products

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

// The inputs of a product, tile by tile [num_in][tokens of the tile]: they stand together. As rows,
// whose addresses often differ by a power of two, they would push each other out of the first cache.
template <class W>
struct Inputs {
  static constexpr int TOKENS = TILE;
  const int num_in;
  Buffer<float> values;

  Inputs(int m, int num_in) : num_in(num_in), values(size_t(m) * num_in) {}

  void take(const float* a, size_t start, int m) {
    float* to = values.data() + start * num_in;
    for (int i = 0; i < m; ++i)
      for (int k = 0; k < num_in; ++k) to[size_t(k) * m + i] = a[(start + i) * num_in + k];
  }
};

// `m` tokens from `start` on times `panels` neighbouring panels, each sum in the order of the
// inputs; written to `c` [m][num_out], or added to it.
template <int m, int panels, class W>
void tile(const Inputs<W>& inputs, size_t start, const Matrix& b, int panel, float* c, bool add) {
  constexpr int vecs = 2 * panels;
  const int num_in = b.num_in;
  const size_t panel_size = size_t(num_in) * PANEL;
  const float* a = inputs.values.data() + start * num_in;
  const W* weights = static_cast<const W*>(b.data) + panel * panel_size;
  vec sums[m][vecs] = {};
  for (int k = 0; k < num_in; ++k) {
    // Weights beyond the caches stream in pages, at whose borders the processor stops looking ahead.
    if constexpr (m > 3) __builtin_prefetch(weights + size_t(k) * PANEL + AHEAD);
    vec w[vecs];
#pragma GCC unroll 16
    for (int v = 0; v < vecs; ++v)
      w[v] = load(weights + v / 2 * panel_size + size_t(k) * PANEL + v % 2 * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < m; ++i) {
      const float input = a[size_t(k) * m + i];
#pragma GCC unroll 16
      for (int v = 0; v < vecs; ++v) sums[i][v] += input * w[v];
    }
  }
  put(sums, panel * PANEL, b.num_out, add, c);
}

// -- and with int8 weights: sums of a group's products are integers

// sums + w x, four neighbouring products a lane: bytes without sign times bytes with one.
inline ivec add_products(ivec sums, ivec w, int32_t x) {
#if defined(__AVX512VNNI__)
  return (ivec)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
  typedef int16_t pairs __attribute__((vector_size(sizeof(ivec))));
  const pairs both = (pairs)(ivec{} + x);
  const pairs even = (both << 8) >> 8, odd = both >> 8;
  const ivec low = w & 0xff00ff, high = (w >> 8) & 0xff00ff;
#if defined(__AVX512BW__)
  sums += (ivec)_mm512_madd_epi16((__m512i)low, (__m512i)even);
  return sums + (ivec)_mm512_madd_epi16((__m512i)high, (__m512i)odd);
#else
  sums += (ivec)_mm256_madd_epi16((__m256i)low, (__m256i)even);
  return sums + (ivec)_mm256_madd_epi16((__m256i)high, (__m256i)odd);
#endif
#else
  for (int byte = 0; byte < 4; ++byte)
    sums += ((w >> 8 * byte) & 255) * int32_t(int8_t(uint32_t(x) >> 8 * byte));
  return sums;
#endif
}

// The nearest integer, of numbers far below 2^22.
inline ivec round_to_int(vec x) {
  vec shifted = x + 12582912.0f;  // 1.5 * 2^23: the last bits are the integer's
  ivec bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  return bits - 0x4b400000;
}

// GROUP numbers as integers times a scale.
struct Group {
  int8_t values[GROUP];
  float scale;
  int32_t sum;
};

// `count` numbers, filled up with zeros, as integers of at most 127 times a scale; the scale of
// what is no number is none either.
Group quantize(const float* from, int count) {
  float values[GROUP] = {};
  std::copy_n(from, count, values);
  ivec largest{};  // sizes in the order of their bits, in which NaN is above infinity
  for (int k = 0; k < GROUP; k += LANES) {
    ivec bits;
    std::memcpy(&bits, values + k, sizeof bits);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  int32_t most_bits = 0;
  for (int i = 0; i < LANES; ++i) most_bits = std::max<int32_t>(most_bits, largest[i]);
  float most;
  std::memcpy(&most, &most_bits, sizeof most);
  Group group{};
  if (most < 1e-30f) return group;
  group.scale = most / 127;
  ivec total{};
  typedef int8_t narrow __attribute__((vector_size(LANES)));
  for (int k = 0; k < GROUP; k += LANES) {
    ivec whole = round_to_int(load(values + k) * (127 / most));
    narrow bytes = __builtin_convertvector(whole, narrow);
    std::memcpy(group.values + k, &bytes, sizeof bytes);
    total += whole;
  }
  for (int i = 0; i < LANES; ++i) group.sum += total[i];
  return group;
}

inline int groups_of(int num_in) { return (num_in + GROUP - 1) / GROUP; }

// Each token's groups have scales of their own. Weights are stored 128 too large; `starts` of the
// sums take that back.
template <>
struct Inputs<int8_t> {
  static constexpr int TOKENS = INT8_TILE;
  const int num_in, num_groups;
  Buffer<int32_t> words, starts;  // a word is four inputs
  Buffer<float> scales;

  Inputs(int m, int num_in)
      : num_in(num_in),
        num_groups(groups_of(num_in)),
        words(size_t(m) * num_groups * WORDS),
        starts(size_t(m) * num_groups),
        scales(size_t(m) * num_groups) {}

  void take(const float* a, size_t start, int m) {
    for (int i = 0; i < m; ++i)
      for (int g = 0; g < num_groups; ++g) {
        const int first = g * GROUP;
        const Group group =
            quantize(a + (start + i) * num_in + first, std::min(GROUP, num_in - first));
        const size_t place = start * num_groups + size_t(g) * m;
        starts.data()[place + i] = -128 * group.sum;
        scales.data()[place + i] = group.scale;
        for (int k = 0; k < WORDS; ++k)
          std::memcpy(words.data() + place * WORDS + k * m + i, group.values + 4 * k, 4);
      }
  }
};

template <int m, int panels>
void tile(const Inputs<int8_t>& inputs, size_t start, const Matrix& b, int panel, float* c,
          bool add) {
  constexpr int vecs = 2 * panels;
  const int num_groups = inputs.num_groups;
  const size_t panel_size = size_t(num_groups) * GROUP * PANEL;
  const uint8_t* weights = static_cast<const uint8_t*>(b.data) + panel * panel_size;
  const float* scales = b.scales + size_t(panel) * num_groups * PANEL;
  const size_t place = start * num_groups;
  vec sums[m][vecs] = {};
  for (int g = 0; g < num_groups; ++g) {
    const int32_t* starts = inputs.starts.data() + place + size_t(g) * m;
    const float* input_scales = inputs.scales.data() + place + size_t(g) * m;
    const int32_t* words = inputs.words.data() + (place + size_t(g) * m) * WORDS;
    const uint8_t* group = weights + size_t(g) * GROUP * PANEL;
    ivec counts[m][vecs];
#pragma GCC unroll 16
    for (int i = 0; i < m; ++i)
#pragma GCC unroll 16
      for (int v = 0; v < vecs; ++v) counts[i][v] = ivec{} + starts[i];
    for (int k = 0; k < WORDS; ++k) {
      if constexpr (m > 3)
        for (int v = 0; v < 2; ++v) __builtin_prefetch(group + (2 * k + v) * LANES * 4 + AHEAD);
      ivec w[vecs];
#pragma GCC unroll 16
      for (int v = 0; v < vecs; ++v)
        std::memcpy(&w[v], group + v / 2 * panel_size + (2 * k + v % 2) * LANES * 4, sizeof w[v]);
#pragma GCC unroll 16
      for (int i = 0; i < m; ++i)
#pragma GCC unroll 16
        for (int v = 0; v < vecs; ++v)
          counts[i][v] = add_products(counts[i][v], w[v], words[k * m + i]);
    }
#pragma GCC unroll 16
    for (int v = 0; v < vecs; ++v) {
      const vec scale = load(scales + (size_t(v / 2) * num_groups + g) * PANEL + v % 2 * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < m; ++i)
        sums[i][v] += __builtin_convertvector(counts[i][v], vec) * (scale * input_scales[i]);
    }
  }
  put(sums, panel * PANEL, b.num_out, add, c);
}

// -- of any kind

// `tile` for a number of tokens that is known only now.
template <int panels, int most, class W>
void tile_of(int m, const Inputs<W>& a, size_t start, const Matrix& b, int panel, float* c,
             bool add) {
  if (m == most) return tile<most, panels>(a, start, b, panel, c, add);
  if constexpr (most > 1) tile_of<panels, most - 1>(m, a, start, b, panel, c, add);
}

// c [m][num_out] = a [m][num_in] b^T, or added to it. Few tokens take several panels at once, so
// that enough sums are in flight to hide the latency of each.
template <class W>
void multiply(const float* a, int m, const Matrix& b, float* c, bool add, int num_threads) {
  constexpr int MOST = Inputs<W>::TOKENS;
  const int num_panels = (b.num_out + PANEL - 1) / PANEL;
  const int width = m == 1 ? 4 : m <= 3 ? 2 : 1;
  const int num_tiles = (m + MOST - 1) / MOST;
  Inputs<W> inputs(m, b.num_in);
  const auto first_of = [&](int t) { return size_t(m) * t / num_tiles; };
  for (int t = 0; t < num_tiles; ++t)
    inputs.take(a, first_of(t), first_of(t + 1) - first_of(t));
#pragma omp parallel for num_threads(num_threads) if (num_threads > 1) schedule(static)
  for (int first = 0; first < num_panels; first += width) {
    for (int t = 0; t < num_tiles; ++t) {
      const size_t start = first_of(t);
      const int rows = first_of(t + 1) - start;
      float* to = c + start * b.num_out;
      if (width == 4 && first + 4 <= num_panels)
        tile<1, 4>(inputs, start, b, first, to, add);
      else if (width == 2 && first + 2 <= num_panels)
        tile_of<2, 3>(rows, inputs, start, b, first, to, add);
      else
        for (int panel = first; panel < std::min(first + width, num_panels); ++panel)
          tile_of<1, MOST>(rows, inputs, start, b, panel, to, add);
    }
  }
}

void multiply(int32_t type, const float* a, int m, const Matrix& b, float* c, bool add,
              int num_threads) {
  switch (type) {
    case FLOAT: return multiply<float>(a, m, b, c, add, num_threads);
    case HALF: return multiply<half>(a, m, b, c, add, num_threads);
    case INT8: return multiply<int8_t>(a, m, b, c, add, num_threads);
  }
}

void multiply(const Model& model, const float* a, int m, const Matrix& b, float* c, bool add) {
  multiply(model.weight_type, a, m, b, c, add, model.num_threads);
}

// -- one token

void normalize(const float* x, const float* gain, float eps, int length, float* y) {
  const float scale = 1.0f / std::sqrt(dot(x, x, length) / length + eps);
  for (int i = 0; i < length; ++i) y[i] = gain[i] * (x[i] * scale);
}

// Rotary position embedding of one head: its halves turn into each other.
void rotate(float* x, const float* rotary, int dim) {
  const int half_dim = dim / 2;
  for (int i = 0; i < half_dim; ++i) {
    const float low = x[i], high = x[i + half_dim];
    x[i] = low * rotary[i] + high * rotary[dim + i];
    x[i + half_dim] = high * rotary[half_dim + i] + low * rotary[dim + half_dim + i];
  }
}

// gate [inner], up [inner] -> silu(gate) * up
void gate(const float* gate_up, int inner, float* y) {
  const float *g = gate_up, *up = gate_up + inner;
  int i = 0;
  for (; i + LANES <= inner; i += LANES) {
    vec x = load(g + i);
    store(y + i, x / (1.0f + exponential(-x)) * load(up + i));
  }
  for (; i < inner; ++i) y[i] = g[i] / (1.0f + std::exp(-g[i])) * up[i];
}

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

// -- one layer

struct Batch {
  int num_tokens;
  const int32_t *rows, *positions;
  int num_patched;
  const Patched* patched;
};

// To `y` [token][y_width], what a layer's fused matrix has made of `x` [token][x_width], is added
// what the models of some tokens make of it besides. The tokens of one stand together meanwhile.
void patch(const Model& model, const Batch& batch, int layer, Place place, const float* x,
           int x_width, float* y, int y_width) {
  std::vector<float> inputs, inner, outputs;
  for (const Patched* p = batch.patched; p < batch.patched + batch.num_patched; ++p) {
    const int32_t* range = p->starts + layer * NUM_PLACES + place;
    if (range[0] == range[1]) continue;
    const int n = p->num_tokens;
    inputs.resize(size_t(n) * x_width);
    for (int i = 0; i < n; ++i)
      std::copy_n(x + size_t(p->tokens[i]) * x_width, x_width, inputs.data() + size_t(i) * x_width);
    for (int number = range[0]; number < range[1]; ++number) {
      const Patch& patch = p->patches[number];
      const int width = patch.b.num_out;
      inner.resize(size_t(n) * patch.a.num_out);
      outputs.resize(size_t(n) * width);
      const auto product = [&](const float* a, const Matrix& b, float* c) {
        multiply(model.patch_type, a, n, b, c, false, model.num_threads);
      };
      product(inputs.data(), patch.a, inner.data());
      product(inner.data(), patch.b, outputs.data());
      for (int i = 0; i < n; ++i) {
        float* to = y + size_t(p->tokens[i]) * y_width + patch.first;
        for (int j = 0; j < width; ++j) to[j] += outputs[size_t(i) * width + j];
      }
    }
  }
}

template <class KV>
void attention(const Model& model, int layer, const Cache& cache, const Batch& batch, float* qkv,
               float* mixed) {
  const int dim = model.head_dim, heads = model.num_heads, kv_heads = model.num_kv_heads;
  const size_t width = size_t(heads + 2 * kv_heads) * dim;
  const size_t head_size = size_t(cache.capacity) * dim;
  const size_t half_size = head_size * kv_heads * cache.num_rows;
  KV* keys = static_cast<KV*>(cache.slab) + size_t(layer) * 2 * half_size;
  KV* values = keys + half_size;
  // All keys are written before any is read: a chunk's tokens see each other.
#pragma omp parallel for num_threads(model.num_threads) if (model.num_threads > 1) schedule(static)
  for (int n = 0; n < batch.num_tokens; ++n) {
    float* token = qkv + n * width;
    const float* rotary = model.rotary + size_t(batch.positions[n]) * 2 * dim;
    for (int head = 0; head < heads + kv_heads; ++head) rotate(token + head * dim, rotary, dim);
    for (int head = 0; head < kv_heads; ++head) {
      const size_t place = (size_t(batch.rows[n]) * kv_heads + head) * head_size;
      const float *key = token + (heads + head) * dim, *value = key + kv_heads * dim;
      keep_key(keys + place, key, batch.positions[n], dim);
      keep_value(values + place, value, batch.positions[n], dim);
    }
  }
#pragma omp parallel num_threads(model.num_threads) if (model.num_threads > 1)
  {
    Buffer<float> scores(cache.capacity);
#pragma omp for schedule(dynamic, 4)
    for (int task = 0; task < batch.num_tokens * heads; ++task) {
      const int n = task / heads, head = task % heads;
      const size_t place =
          (size_t(batch.rows[n]) * kv_heads + head / (heads / kv_heads)) * head_size;
      attend(qkv + n * width + head * dim, keys + place, values + place, batch.positions[n] + 1,
             dim, scores.data(), mixed + (size_t(n) * heads + head) * dim);
    }
  }
}

struct Scratch {
  Buffer<float> normed, qkv, mixed, gate_up, gated;

  Scratch(const Model& model, size_t n)
      : normed(n * model.hidden),
        qkv(n * (model.num_heads + 2 * model.num_kv_heads) * model.head_dim),
        mixed(n * model.num_heads * model.head_dim),
        gate_up(n * 2 * model.inner),
        gated(n * model.inner) {}
};

template <class KV>
void update(const Model& model, int index, const Cache& cache, const Batch& batch, float* hidden,
            Scratch& scratch) {
  const Layer& layer = model.layers[index];
  const int n = batch.num_tokens, width = model.hidden;
  float *normed = scratch.normed.data(), *qkv = scratch.qkv.data();
  float *mixed = scratch.mixed.data(), *gate_up = scratch.gate_up.data();
  float* gated = scratch.gated.data();
  const auto product = [&](const float* x, const Matrix& weights, Place place, float* y, bool add) {
    multiply(model, x, n, weights, y, add);
    patch(model, batch, index, place, x, weights.num_in, y, weights.num_out);
  };
  for (int i = 0; i < n; ++i)
    normalize(hidden + i * width, layer.attention_norm, model.eps, width, normed + i * width);
  product(normed, layer.qkv, QKV, qkv, false);
  attention<KV>(model, index, cache, batch, qkv, mixed);
  product(mixed, layer.out, OUT, hidden, true);
  for (int i = 0; i < n; ++i)
    normalize(hidden + i * width, layer.mlp_norm, model.eps, width, normed + i * width);
  product(normed, layer.gate_up, GATE_UP, gate_up, false);
#pragma omp parallel for num_threads(model.num_threads) if (model.num_threads > 1) schedule(static)
  for (int i = 0; i < n; ++i)
    gate(gate_up + size_t(i) * 2 * model.inner, model.inner, gated + size_t(i) * model.inner);
  product(gated, layer.down, DOWN, hidden, true);
}

template <class W>
void pack_as(const float* weights, int num_out, int num_in, W* to) {
  for (int panel = 0; panel * PANEL < num_out; ++panel)
    for (int k = 0; k < num_in; ++k)
      for (int j = 0; j < PANEL; ++j) {
        const int row = panel * PANEL + j;
        *to++ = static_cast<W>(row < num_out ? weights[size_t(row) * num_in + k] : 0.0f);
      }
}

void pack_int8(const float* weights, int num_out, int num_in, uint8_t* to, float* scales) {
  for (int panel = 0; panel * PANEL < num_out; ++panel)
    for (int first = 0; first < num_in; first += GROUP, to += GROUP * PANEL)
      for (int j = 0; j < PANEL; ++j) {
        const int row = panel * PANEL + j, count = std::min(GROUP, num_in - first);
        const Group group = row < num_out
            ? quantize(weights + size_t(row) * num_in + first, count) : Group{};
        *scales++ = group.scale;
        for (int k = 0; k < GROUP; ++k)
          to[(k / 4 * PANEL + j) * 4 + k % 4] = static_cast<uint8_t>(group.values[k] + 128);
      }
}

}  // namespace

extern "C" {

int32_t panel_width() { return PANEL; }

int32_t block_length() { return LANES; }

int32_t group_length() { return GROUP; }

// weights [num_out][num_in] -> panels; rows of the last panel beyond num_out are zeros.
void pack(const float* weights, int32_t num_out, int32_t num_in, int32_t type, void* to,
          float* scales) {
  switch (type) {
    case FLOAT: return pack_as(weights, num_out, num_in, static_cast<float*>(to));
    case HALF: return pack_as(weights, num_out, num_in, static_cast<half*>(to));
    case INT8: return pack_int8(weights, num_out, num_in, static_cast<uint8_t*>(to), scales);
  }
}

// `hidden` [n][hidden]: embeddings in, states after the last norm out. Token i stands at
// `positions[i]` of cache row `rows[i]`; a row's tokens come in order. Those that `patched` names
// are of other models than the one whose weights these are.
void forward(const Model* model, const Cache* cache, int32_t n, const int32_t* rows,
             const int32_t* positions, int32_t num_patched, const Patched* patched, float* hidden) {
  const Batch batch{n, rows, positions, num_patched, patched};
  Scratch scratch(*model, n);
  for (int layer = 0; layer < model->num_layers; ++layer) {
    if (model->kv_type == HALF)
      update<half>(*model, layer, *cache, batch, hidden, scratch);
    else
      update<float>(*model, layer, *cache, batch, hidden, scratch);
  }
  std::vector<float> state(model->hidden);
  for (int i = 0; i < n; ++i) {
    float* token = hidden + size_t(i) * model->hidden;
    normalize(token, model->norm, model->eps, model->hidden, state.data());
    std::copy(state.begin(), state.end(), token);
  }
}

void logits(const Model* model, int32_t n, const float* hidden, float* to) {
  multiply(*model, hidden, n, model->head, to, false);
}

}  // extern "C"
