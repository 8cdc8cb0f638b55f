// LLaMA's forward pass on CPUs: a flat batch of tokens in, their hidden states out.
//
// Compiled on the machine it runs on (compiler.py) and called through a plain C interface, once a
// step: for small models the calls of a step cost more than its arithmetic. Holds no state; all
// memory belongs to the caller (decoder.py, whose structures mirror those below).
//
// Every number of a token is summed in one fixed order, whatever else is in the batch: a sequence
// computed alone, beside others, whole or in chunks gives the same bits.
//
// Weights are float, half, int16 or int8, packed by `pack`; activations and sums are float; keys and
// values are float or half.

#include <algorithm>
#include <cmath>
#include <vector>

#include "attention.h"
#include "product.h"

extern "C" {

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

// -- one layer

// How many tokens a layer computes at once: what one product leaves is in the caches for the next.
constexpr int BLOCK = 256;

struct Batch {
  int num_tokens;
  const int32_t *rows, *positions;
  int num_patched;
  const Patched* patched;
  // Where groups of queries begin, and where the last one ends: QUERIES neighbouring tokens of a row,
  // or one.
  std::vector<int> groups{0};

  Batch(int n, const int32_t* rows, const int32_t* positions, int num_patched, const Patched* patched)
      : num_tokens(n),
        rows(rows),
        positions(positions),
        num_patched(num_patched),
        patched(patched) {
    for (int first = 0; first < n; groups.push_back(first)) {
      const int last = first + QUERIES - 1;
      const bool together = last < n && rows[last] == rows[first] &&
                            positions[last] == positions[first] + QUERIES - 1;
      first += together ? QUERIES : 1;
    }
  }
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
  const int num_groups = batch.groups.size() - 1, out_width = heads * dim;
#pragma omp parallel num_threads(model.num_threads) if (model.num_threads > 1)
  {
    Buffer<float> scores(size_t(QUERIES) * cache.capacity);
#pragma omp for schedule(dynamic, 4)
    for (int task = 0; task < num_groups * heads; ++task) {
      const int head = task / num_groups, *group = &batch.groups[task % num_groups], n = group[0];
      const size_t place =
          (size_t(batch.rows[n]) * kv_heads + head / (heads / kv_heads)) * head_size;
      const auto attend_all = group[1] - n == QUERIES ? attend<QUERIES, KV> : attend<1, KV>;
      attend_all(qkv + n * width + head * dim, width, keys + place, values + place,
                 batch.positions[n] + 1, dim, scores.data(), cache.capacity,
                 mixed + size_t(n) * out_width + head * dim, out_width);
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

}  // namespace

extern "C" {

int32_t panel_width() { return PANEL; }

int32_t block_length() { return LANES; }

int32_t group_length() { return GROUP; }

// The weights of 16 bits that this processor is faster with.
int32_t type_of_16_bits() { return HAS_PAIRS ? INT16 : HALF; }

// weights [num_out][num_in] -> panels; rows of the last panel beyond num_out are zeros.
void pack(const float* weights, int32_t num_out, int32_t num_in, int32_t type, void* to,
          upper* scales) {
  switch (type) {
    case FLOAT: return pack_as(weights, num_out, num_in, static_cast<float*>(to));
    case HALF: return pack_as(weights, num_out, num_in, static_cast<half*>(to));
    case INT8: return pack_integers(weights, num_out, num_in, static_cast<int8_t*>(to), scales);
    case INT16: return pack_integers(weights, num_out, num_in, static_cast<int16_t*>(to), scales);
  }
}

// `hidden` [n][hidden]: embeddings in, states after the last norm out. Token i stands at
// `positions[i]` of cache row `rows[i]`; a row's tokens come in order. Those that `patched` names
// are of other models than the one whose weights these are.
void forward(const Model* model, const Cache* cache, int32_t n, const int32_t* rows,
             const int32_t* positions, int32_t num_patched, const Patched* patched, float* hidden) {
  // Patches name their tokens by their places in the whole.
  const int block = num_patched ? n : std::min(n, BLOCK);
  std::vector<Batch> batches;
  for (int first = 0; first < n; first += block)
    batches.emplace_back(std::min(block, n - first), rows + first, positions + first, num_patched,
                         patched);
  Scratch scratch(*model, block);
  const auto update_all = model->kv_type == HALF ? update<half> : update<float>;
  for (int layer = 0; layer < model->num_layers; ++layer)
    for (size_t i = 0; i < batches.size(); ++i)
      update_all(*model, layer, *cache, batches[i], hidden + i * block * model->hidden, scratch);
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
