// What generated kernels call. Written for NVRTC without any header; tests/shim gives the same
// names a meaning on the CPU, where the first section is left out.

typedef const unsigned long long* DinPointers;
typedef const unsigned* DinScalars;

#ifndef DIN_SHIM

template <class T> using DinPtr = T*;

// Two blocks a multiprocessor: one hides what the other waits for.
#define DIN_KERNEL(threads) __global__ void __launch_bounds__(threads, 2)
#define DIN_CALL __device__ __forceinline__
#define DIN_CALL_MEMBER __device__ __forceinline__
#define DIN_TILE __device__ __forceinline__

// In global memory, which the compiler cannot know by itself: a load that might be one from shared
// memory takes longer.
template <class T> DIN_CALL T* din_pointer(DinPointers pointers, unsigned number) {
    T* at = reinterpret_cast<T*>(pointers[number]);
    __builtin_assume(__isGlobal(at));
    return at;
}

extern __shared__ __align__(16) float din_memory[];

DIN_CALL float* din_shared() { return din_memory; }
DIN_CALL unsigned* din_shared_u32() { return reinterpret_cast<unsigned*>(din_memory); }
DIN_CALL unsigned din_thread() { return threadIdx.x; }
DIN_CALL unsigned din_chunk() { return blockIdx.x; }
DIN_CALL unsigned din_chunks() { return gridDim.x; }
DIN_CALL unsigned din_instance() { return blockIdx.y; }
DIN_CALL void din_barrier() { __syncthreads(); }

// The value of another lane; all lanes of the warp take part.
template <class T> DIN_CALL T din_shuffle_from(T x, unsigned lane) { return __shfl_sync(0xffffffffu, x, int(lane)); }

// The lanes for which it holds, one bit each; all lanes of the warp take part.
DIN_CALL unsigned din_ballot(bool x) { return __ballot_sync(0xffffffffu, x); }
// What lanes of the warp wrote before it is there for all of them behind it.
DIN_CALL void din_warp_barrier() { __syncwarp(); }
// How many bits are set.
DIN_CALL unsigned din_popcount(unsigned bits) { return unsigned(__popc(bits)); }

DIN_CALL unsigned din_bits(float x) { return __float_as_uint(x); }
DIN_CALL float din_infinity() { return __int_as_float(0x7f800000); }
DIN_CALL float din_nan() { return __int_as_float(0x7fc00000); }

// c += a b on a tensor core: a is 16 x 8 and b 8 x 8 for TF32, 16 x 16 and 16 x 8 for BF16, c is 16
// x 8; fragments as PTX lays them out.
DIN_CALL void din_mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DIN_CALL void din_mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DIN_CALL unsigned din_tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}
// Two numbers, the first in the low half.
DIN_CALL unsigned din_bf16(float low, float high) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

// Four numbers at once; the first begins at 16 bytes.
DIN_CALL void din_load_four(const float* x, float (&to)[4]) {
    const float4 v = *reinterpret_cast<const float4*>(x);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
DIN_CALL void din_store_four(float* x, const float (&v)[4]) { *reinterpret_cast<float4*>(x) = make_float4(v[0], v[1], v[2], v[3]); }

#endif

// E numbers side by side, at once where there are four and V is 4.
template <unsigned V = 4u, unsigned E> DIN_CALL void din_load(DinPtr<const float> x, float (&to)[E]) {
    if constexpr (V == 4u && E == 4u) {
        din_load_four(x, to);
    } else {
#pragma unroll
        for (unsigned e = 0u; e < E; ++e) to[e] = x[e];
    }
}
template <unsigned V = 4u, unsigned E> DIN_CALL void din_store(DinPtr<float> x, const float (&value)[E]) {
    if constexpr (V == 4u && E == 4u) {
        din_store_four(x, value);
    } else {
#pragma unroll
        for (unsigned e = 0u; e < E; ++e) x[e] = value[e];
    }
}

DIN_CALL unsigned din_lane() { return din_thread() % 32u; }
DIN_CALL unsigned din_warp() { return din_thread() / 32u; }
DIN_CALL unsigned din_min(unsigned a, unsigned b) { return a < b ? a : b; }
// Where the share of one of `parts` in `all` begins.
DIN_CALL unsigned din_chunk_begin(unsigned part, unsigned all, unsigned parts) {
    return unsigned((unsigned long long)part * all / parts);
}

// Elements of a tile, at most `most`, that leaves a tile for each chunk; and how many tiles of so
// many there are.
DIN_CALL unsigned din_adaptive_tile(unsigned all, unsigned chunks, unsigned most) {
    const unsigned each = all / chunks + (all % chunks != 0u ? 1u : 0u);
    return each == 0u ? 1u : din_min(each, most);
}
DIN_CALL unsigned din_tiles(unsigned all, unsigned each) { return all / each + (all % each != 0u ? 1u : 0u); }

// ---- Elementary functions.

DIN_CALL float din_exp(float x) { return expf(x); }
DIN_CALL double din_exp(double x) { return exp(x); }
DIN_CALL float din_log(float x) { return logf(x); }
DIN_CALL double din_log(double x) { return log(x); }
DIN_CALL float din_sqrt(float x) { return sqrtf(x); }
DIN_CALL double din_sqrt(double x) { return sqrt(x); }
DIN_CALL float din_tanh(float x) { return tanhf(x); }
DIN_CALL double din_tanh(double x) { return tanh(x); }
DIN_CALL float din_abs(float x) { return fabsf(x); }
DIN_CALL double din_abs(double x) { return fabs(x); }
DIN_CALL float din_log1p(float x) { return log1pf(x); }
DIN_CALL double din_log1p(double x) { return log1p(x); }
template <class T> DIN_CALL T din_sigmoid(T x) { return T(1) / (T(1) + din_exp(-x)); }
template <class T> DIN_CALL T din_softplus(T x) { return (x > T(0) ? x : T(0)) + din_log1p(din_exp(-din_abs(x))); }
template <class T> DIN_CALL T din_sign(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0); }
DIN_CALL float din_pow(float x, float y) { return float(pow(double(x), double(y))); }
DIN_CALL double din_pow(double x, double y) { return pow(x, y); }
template <int N, class T> DIN_CALL T din_power(T x) {
    T power = T(1);
    T square = x;
    for (unsigned left = N < 0 ? -N : N; left > 0u; left >>= 1) {
        if (left & 1u) power *= square;
        square *= square;
    }
    return N < 0 ? T(1) / power : power;
}

// ---- Dropout: 0 or `scale`, by Threefry-2x32 with 13 rounds, as din_program::dropout has it.
// `low` and `high` have the bits of the key.

DIN_CALL unsigned din_rotate(unsigned x, unsigned by) { return (x << by) | (x >> (32u - by)); }
template <unsigned A, unsigned B, unsigned C, unsigned D> DIN_CALL void din_threefry(unsigned& x, unsigned& y) {
    x += y, y = din_rotate(y, A) ^ x;
    x += y, y = din_rotate(y, B) ^ x;
    x += y, y = din_rotate(y, C) ^ x;
    x += y, y = din_rotate(y, D) ^ x;
}
DIN_CALL float din_dropout(float sample, float first, float second, float component, float low, float high, unsigned threshold,
                           float scale) {
    const unsigned a = din_bits(low) + din_bits(first), b = din_bits(high) + din_bits(second), c = a ^ b ^ 0x1bd11bdau;
    unsigned x = din_bits(sample) + a, y = din_bits(component) + b;
    din_threefry<13u, 15u, 26u, 6u>(x, y);
    x += b, y += c + 1u;
    din_threefry<17u, 29u, 16u, 24u>(x, y);
    x += c, y += a + 2u;
    din_threefry<13u, 15u, 26u, 6u>(x, y);
    x += a;
    y += b + 3u;
    x += y;
    return x >> 8u < threshold ? 0.0f : scale;
}

// ---- Sums.

struct DinAdd {
    static DIN_CALL_MEMBER float join(float a, float b) { return a + b; }
    static DIN_CALL_MEMBER float none() { return 0.0f; }
};
struct DinMax {
    static DIN_CALL_MEMBER float join(float a, float b) { return b < a ? a : b; }
    static DIN_CALL_MEMBER float none() { return -din_infinity(); }
};

// The sum of all lanes, in each lane.
template <class T> DIN_CALL T din_warp_sum(T x) {
    for (unsigned bits = 16u; bits > 0u; bits >>= 1) x += din_shuffle_from(x, din_lane() ^ bits);
    return x;
}

// out[c] = out[c] joined with the `GROUPS` groups' numbers of column c, in the order of the groups.
template <unsigned WIDTH, unsigned GROUPS, class How> DIN_CALL void din_join_groups(DinPtr<float> sums, DinPtr<float> out) {
    for (unsigned c = din_thread(); c < WIDTH; c += DIN_THREADS) {
        float all = sums[c];
        for (unsigned g = 1u; g < GROUPS; ++g) all = How::join(all, sums[g * WIDTH + c]);
        out[c] = How::join(out[c], all);
    }
}

template <unsigned COUNT> DIN_CALL void din_fill(DinPtr<float> out, float value) {
    for (unsigned i = din_thread(); i < COUNT; i += DIN_THREADS) out[i] = value;
}

template <unsigned COUNT> DIN_CALL void din_fill_grid(DinPtr<float> out, float value) {
    for (unsigned i = din_chunk() * DIN_THREADS + din_thread(); i < COUNT; i += din_chunks() * DIN_THREADS) out[i] = value;
}

template <unsigned WIDTH, unsigned STRIDE> DIN_CALL void din_fill_rows(unsigned rows, DinPtr<float> out, float value) {
    for (unsigned i = din_thread(); i < rows * WIDTH; i += DIN_THREADS) out[WIDTH == STRIDE ? i : i / WIDTH * STRIDE + i % WIDTH] = value;
}

// The states of the lists that run in a step: those that the step before, or behind, left in its first
// `carried` rows, which `x` begins with; 0 for the others.
template <unsigned WIDTH, unsigned FROM, unsigned TO>
DIN_CALL void din_carry(unsigned rows, unsigned carried, DinPtr<const float> x, DinPtr<float> out) {
    for (unsigned i = din_thread(); i < rows * WIDTH; i += DIN_THREADS) {
        const unsigned row = i / WIDTH, column = i % WIDTH;
        out[row * TO + column] = row < carried ? float(x[row * FROM + column]) : 0.0f;
    }
}

// ---- Sums and maxima over the samples of requests, `How` being DinAdd or DinMax. A number with few
// like it is made by several threads, each joining every so many terms, and theirs are joined in
// order: who joins what depends on how many numbers the tile has.

// Numbers `0..items` of `joined`; `sums` has room for one value per thread. A number has sixteen
// threads at most.
template <class How, class Joined> DIN_CALL void din_reduce_terms(unsigned items, DinPtr<float> sums, const Joined& joined) {
    if (items == 0u || items > DIN_THREADS / 2u) {
        for (unsigned item = din_thread(); item < items; item += DIN_THREADS) joined.store(item, joined.terms(item, 0u, 1u));
        return;
    }
    const unsigned parts = din_min(DIN_THREADS / items, 16u);
    const unsigned item = din_thread() % items, part = din_thread() / items;
    if (part < parts) sums[din_thread()] = joined.terms(item, part, parts);
    din_barrier();
    if (din_thread() < items) {
        float all = sums[item];
        for (unsigned p = 1u; p < parts; ++p) all = How::join(all, sums[p * items + item]);
        joined.store(item, all);
    }
}

template <class How, unsigned WIDTH, unsigned X, unsigned OUT> struct DinOfRequests {
    unsigned first;
    DinPtr<const unsigned> samples;
    DinPtr<const float> x;
    DinPtr<float> out;
    DIN_CALL_MEMBER float terms(unsigned item, unsigned part, unsigned parts) const {
        const unsigned request = first + item / WIDTH, column = item % WIDTH, end = samples[request + 1u];
        float all = How::none();
#pragma unroll 8
        for (unsigned s = samples[request] + part; s < end; s += parts) all = How::join(all, x[size_t(s) * X + column]);
        return all;
    }
    DIN_CALL_MEMBER void store(unsigned item, float value) const { out[item / WIDTH * OUT + item % WIDTH] = value; }
};

// out_r = x_s joined over the samples s of request r, for the tile's requests from `first` on.
// `samples` has the first of each request.
template <class How, unsigned WIDTH, unsigned X, unsigned OUT>
DIN_CALL void din_reduce_samples(unsigned requests, unsigned first, DinPtr<const unsigned> samples, DinPtr<const float> x,
                                 DinPtr<float> sums, DinPtr<float> out) {
    const DinOfRequests<How, WIDTH, X, OUT> joined = {first, samples, x, out};
    din_reduce_terms<How>(requests * WIDTH, sums, joined);
}

template <class How, unsigned WIDTH, unsigned X, unsigned OUT> struct DinOfEntries {
    unsigned first;
    DinPtr<const unsigned> samples, request, entries, pairs;
    DinPtr<const float> x;
    DinPtr<float> out;
    DIN_CALL_MEMBER float terms(unsigned item, unsigned part, unsigned parts) const {
        const unsigned entry = item / WIDTH, column = item % WIDTH, r = request[entry];
        const unsigned begin = entries[r], count = entries[r + 1u] - begin;
        const unsigned from = samples[r] + part, to = samples[r + 1u];
        float all = How::none();
        if (from < to) {
            const size_t step = size_t(count) * parts * X;
            size_t at = (size_t(pairs[from]) + (first + entry - begin)) * X + column;
#pragma unroll 8
            for (unsigned s = from; s < to; s += parts, at += step) all = How::join(all, x[at]);
        }
        return all;
    }
    DIN_CALL_MEMBER void store(unsigned item, float value) const { out[item / WIDTH * OUT + item % WIDTH] = value; }
};

// out_e = x at entry e joined over the samples of its request, for the tile's entries from
// `first` on; each sample has as many pairs as its request has entries. `samples` and `entries`
// have the first of each request, `pairs` of each sample.
template <class How, unsigned WIDTH, unsigned X, unsigned OUT>
DIN_CALL void din_reduce_pairs(unsigned count, unsigned first, DinPtr<const unsigned> samples, DinPtr<const unsigned> request,
                            DinPtr<const unsigned> entries, DinPtr<const unsigned> pairs, DinPtr<const float> x, DinPtr<float> sums,
                            DinPtr<float> out) {
    const DinOfEntries<How, WIDTH, X, OUT> joined = {first, samples, request, entries, pairs, x, out};
    din_reduce_terms<How>(count * WIDTH, sums, joined);
}

template <class How, unsigned WIDTH, unsigned X, unsigned OUT> struct DinOfGroup {
    unsigned first;
    DinPtr<const unsigned> begins, members;
    DinPtr<const float> x;
    DinPtr<float> out;
    DIN_CALL_MEMBER float terms(unsigned item, unsigned part, unsigned parts) const {
        const unsigned element = first + item / WIDTH, column = item % WIDTH, end = begins[element + 1u];
        float all = How::none();
#pragma unroll 8
        for (unsigned m = begins[element] + part; m < end; m += parts) all = How::join(all, x[size_t(members[m]) * X + column]);
        return all;
    }
    DIN_CALL_MEMBER void store(unsigned item, float value) const { out[item / WIDTH * OUT + item % WIDTH] = value; }
};

// out_g = x_i joined over the elements i that g stands for, members[begins[g]..begins[g + 1]],
// for the tile's elements from `first` on.
template <class How, unsigned WIDTH, unsigned X, unsigned OUT>
DIN_CALL void din_reduce_group(unsigned elements, unsigned first, DinPtr<const unsigned> begins, DinPtr<const unsigned> members,
                            DinPtr<const float> x, DinPtr<float> sums, DinPtr<float> out) {
    const DinOfGroup<How, WIDTH, X, OUT> joined = {first, begins, members, x, out};
    din_reduce_terms<How>(elements * WIDTH, sums, joined);
}
