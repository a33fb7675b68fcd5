// What generated kernels call. Written for NVRTC without any header; tests/shim gives the same names a meaning on the CPU, where the
// first section is left out.

typedef const unsigned long long* DinAddresses;
typedef const unsigned* DinWords;

#ifndef DIN_SHIM

template <class T> using DinPtr = T*;

// Two blocks a multiprocessor: one hides what the other waits for.
#define DIN_KERNEL(threads) __global__ void __launch_bounds__(threads, 2)
#define DIN_CALL __device__ __forceinline__
#define DIN_CALL_MEMBER __device__ __forceinline__
#define DIN_TILE __device__ __forceinline__

template <class T> DIN_CALL T* din_pointer(DinAddresses address, unsigned number) {
    return reinterpret_cast<T*>(address[number]);
}

extern __shared__ __align__(16) float din_memory[];

DIN_CALL float* din_shared() { return din_memory; }
DIN_CALL unsigned* din_shared_words() { return reinterpret_cast<unsigned*>(din_memory); }
DIN_CALL unsigned din_thread() { return threadIdx.x; }
DIN_CALL unsigned din_chunk() { return blockIdx.x; }
DIN_CALL unsigned din_chunks() { return gridDim.x; }
DIN_CALL unsigned din_instance() { return blockIdx.y; }
DIN_CALL void din_barrier() { __syncthreads(); }

// The value of another lane; all lanes of the warp take part.
template <class T> DIN_CALL T din_shuffle_from(T x, unsigned lane) { return __shfl_sync(0xffffffffu, x, int(lane)); }

// The lanes for which it holds, a bit each; all lanes of the warp take part.
DIN_CALL unsigned din_ballot(bool x) { return __ballot_sync(0xffffffffu, x); }
// What lanes of the warp wrote before it is there for all of them behind it.
DIN_CALL void din_warp_barrier() { __syncwarp(); }
// How many bits are set.
DIN_CALL unsigned din_ones(unsigned bits) { return unsigned(__popc(bits)); }

DIN_CALL float din_infinity() { return __int_as_float(0x7f800000); }
DIN_CALL float din_nan() { return __int_as_float(0x7fc00000); }

// c += a b on a tensor core: a is 16 x 8 and b 8 x 8 for TF32, 16 x 16 and 16 x 8 for BF16, c is 16 x 8; fragments as PTX lays them out.
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

#endif

DIN_CALL unsigned din_lane() { return din_thread() % 32u; }
DIN_CALL unsigned din_warp() { return din_thread() / 32u; }
DIN_CALL unsigned din_least(unsigned a, unsigned b) { return a < b ? a : b; }
// Where the share of one of `parts` in `all` begins.
DIN_CALL unsigned din_share(unsigned part, unsigned all, unsigned parts) {
    return unsigned((unsigned long long)part * all / parts);
}

// Elements of a tile, at most `most`, that leaves a tile for each chunk; and how many tiles of so many there are.
DIN_CALL unsigned din_spread(unsigned all, unsigned chunks, unsigned most) {
    const unsigned each = all / chunks + (all % chunks != 0u ? 1u : 0u);
    return each == 0u ? 1u : din_least(each, most);
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

template <unsigned WIDTH> DIN_CALL void din_fill_rows(unsigned rows, DinPtr<float> out, float value) {
    for (unsigned i = din_thread(); i < rows * WIDTH; i += DIN_THREADS) out[i] = value;
}

// `chunks` values joined pairwise: neighbours first, then neighbouring pairs, and so on. One value waits at each level.
template <class T, class Load> DIN_CALL T din_tree(unsigned chunks, const Load& load) {
    T waiting[16];
    for (unsigned c = 0u; c < chunks; ++c) {
        T value = load(c);
        unsigned level = 0u;
        for (; c >> level & 1u; ++level) value = load.join(waiting[level], value);
        waiting[level] = value;
    }
    T all = load.none();
    bool first = true;
    for (unsigned level = 0u; level < 16u; ++level) {
        if (chunks >> level & 1u) {
            all = first ? waiting[level] : load.join(waiting[level], all);
            first = false;
        }
    }
    return all;
}

template <class How> struct DinCopies {
    DinPtr<float> first;
    unsigned stride;
    DIN_CALL_MEMBER float operator()(unsigned chunk) const { return first[size_t(chunk) * stride]; }
    static DIN_CALL_MEMBER float join(float a, float b) { return How::join(a, b); }
    static DIN_CALL_MEMBER float none() { return How::none(); }
};

template <class How, unsigned WIDTH, unsigned STRIDE>
DIN_CALL void din_join_all(unsigned chunks, DinPtr<float> copies, DinPtr<float> into) {
    for (unsigned c = din_chunk() * DIN_THREADS + din_thread(); c < WIDTH; c += din_chunks() * DIN_THREADS) {
        const DinCopies<How> load = {copies + c, STRIDE};
        into[c] = din_tree<float>(chunks, load);
    }
}

template <unsigned WIDTH, unsigned STRIDE>
DIN_CALL void din_join_copies(unsigned chunks, DinPtr<float> copies, DinPtr<float> into) {
    din_join_all<DinAdd, WIDTH, STRIDE>(chunks, copies, into);
}

template <unsigned WIDTH, unsigned STRIDE>
DIN_CALL void din_join_maxima(unsigned chunks, DinPtr<float> copies, DinPtr<float> into) {
    din_join_all<DinMax, WIDTH, STRIDE>(chunks, copies, into);
}

// Mean, sum of squared differences from it, and how many. Chan, Golub & LeVeque 1983, Eq. 2.1.
struct DinMoments {
    float mean, squares, count;
};

DIN_CALL DinMoments din_chan(const DinMoments& a, const DinMoments& b) {
    if (b.count == 0.0f) return a;
    const float all = a.count + b.count;
    const float share = b.count / all;
    const float delta = b.mean - a.mean;
    DinMoments joined = {a.mean + delta * share, a.squares + (b.squares + delta * delta * (a.count * share)), all};
    return joined;
}

// Joins the moments of `rows` rows to `total`: WIDTH means, WIDTH sums of squares, the count.
template <unsigned WIDTH, unsigned STRIDE> DIN_CALL void din_moments(unsigned rows, DinPtr<float> x, DinPtr<float> total) {
    const float count = total[2u * WIDTH];
    for (unsigned c = din_thread(); rows > 0u && c < WIDTH; c += DIN_THREADS) {
        float sum = 0.0f;
        for (unsigned r = 0u; r < rows; ++r) sum += x[r * STRIDE + c];
        const float mean = sum / float(rows);
        float squares = 0.0f;
        for (unsigned r = 0u; r < rows; ++r) {
            const float d = x[r * STRIDE + c] - mean;
            squares += d * d;
        }
        const DinMoments before = {total[c], total[WIDTH + c], count};
        const DinMoments more = {mean, squares, float(rows)};
        const DinMoments all = din_chan(before, more);
        total[c] = all.mean;
        total[WIDTH + c] = all.squares;
    }
    din_barrier();
    if (din_thread() == 0u) total[2u * WIDTH] = count + float(rows);
}

template <unsigned WIDTH> struct DinMomentCopies {
    DinPtr<float> first;
    unsigned stride, column;
    DIN_CALL_MEMBER DinMoments operator()(unsigned chunk) const {
        const DinPtr<float> copy = first + size_t(chunk) * stride;
        const DinMoments held = {copy[column], copy[WIDTH + column], copy[2u * WIDTH]};
        return held;
    }
    static DIN_CALL_MEMBER DinMoments join(const DinMoments& a, const DinMoments& b) { return din_chan(a, b); }
    static DIN_CALL_MEMBER DinMoments none() {
        const DinMoments held = {0.0f, 0.0f, 0.0f};
        return held;
    }
};

// WIDTH means, then as many biased variances; 0 where nothing was counted.
template <unsigned WIDTH, unsigned STRIDE>
DIN_CALL void din_join_moments(unsigned chunks, DinPtr<float> copies, DinPtr<float> into) {
    for (unsigned c = din_chunk() * DIN_THREADS + din_thread(); c < WIDTH; c += din_chunks() * DIN_THREADS) {
        const DinMomentCopies<WIDTH> load = {copies, STRIDE, c};
        const DinMoments all = din_tree<DinMoments>(chunks, load);
        into[c] = all.mean;
        into[WIDTH + c] = all.count > 0.0f ? all.squares / all.count : 0.0f;
    }
}

// ---- Products: c(i, j) receives the sum over parts p and k < depth of a(p, i, k) b(p, k, j), for i < rows and j < N. A thread (a lane) has the
// same elements in every call of equal sizes.

// In f32: a thread computes 4 x 4 numbers, each in the order of p and k.
template <unsigned N, unsigned PARTS, class A, class B, class C>
DIN_CALL void din_product_f32(unsigned rows, unsigned depth, const A& a, const B& b, const C& c) {
    constexpr unsigned R = 4u, S = N < 4u ? N : 4u, ACROSS = (N + S - 1u) / S;
    const unsigned tiles = (rows + R - 1u) / R * ACROSS;
    for (unsigned tile = din_thread(); tile < tiles; tile += DIN_THREADS) {
        unsigned i[R], j[S];
        float sum[R][S];
#pragma unroll
        for (unsigned r = 0u; r < R; ++r) i[r] = din_least(tile / ACROSS * R + r, rows - 1u);
#pragma unroll
        for (unsigned s = 0u; s < S; ++s) j[s] = din_least(tile % ACROSS * S + s, N - 1u);
#pragma unroll
        for (unsigned r = 0u; r < R; ++r)
#pragma unroll
            for (unsigned s = 0u; s < S; ++s) sum[r][s] = 0.0f;
#pragma unroll
        for (unsigned p = 0u; p < PARTS; ++p) {
#pragma unroll 4
            for (unsigned k = 0u; k < depth; ++k) {
                float u[R], v[S];
#pragma unroll
                for (unsigned r = 0u; r < R; ++r) u[r] = a(p, i[r], k);
#pragma unroll
                for (unsigned s = 0u; s < S; ++s) v[s] = b(p, k, j[s]);
#pragma unroll
                for (unsigned r = 0u; r < R; ++r)
#pragma unroll
                    for (unsigned s = 0u; s < S; ++s) sum[r][s] += u[r] * v[s];
            }
        }
#pragma unroll
        for (unsigned r = 0u; r < R; ++r)
#pragma unroll
            for (unsigned s = 0u; s < S; ++s) {
                const unsigned row = tile / ACROSS * R + r, column = tile % ACROSS * S + s;
                if (row < rows && column < N) c(row, column, sum[r][s]);
            }
    }
}

#if DIN_PRECISION != 0

// On tensor cores: a warp computes 16 x 8 J numbers. Beyond the last row and column the last is read again, and beyond the depth
// operands are 0.
template <unsigned N, unsigned PARTS, class A, class B, class C>
DIN_CALL void din_product_mma(unsigned rows, unsigned depth, const A& a, const B& b, const C& c) {
    constexpr unsigned J = N > 16u ? 4u : N > 8u ? 2u : 1u, ACROSS = (N + 8u * J - 1u) / (8u * J);
    constexpr unsigned STEP = DIN_PRECISION == 1 ? 8u : 16u;
    const unsigned group = din_lane() / 4u, place = din_lane() % 4u;
    const bool whole = depth % STEP == 0u;
    const unsigned tiles = (rows + 15u) / 16u * ACROSS;
    for (unsigned tile = din_warp(); tile < tiles; tile += DIN_THREADS / 32u) {
        const unsigned top = tile / ACROSS * 16u + group, left = tile % ACROSS * 8u * J;
        float sum[J][4];
#pragma unroll
        for (unsigned s = 0u; s < J; ++s)
#pragma unroll
            for (unsigned e = 0u; e < 4u; ++e) sum[s][e] = 0.0f;
#pragma unroll
        for (unsigned p = 0u; p < PARTS; ++p) {
#pragma unroll 2
            for (unsigned k = 0u; k < depth; k += STEP) {
                const auto at = [&](unsigned i, unsigned d) { return whole || d < depth ? float(a(p, i, d)) : 0.0f; };
                const auto bt = [&](unsigned d, unsigned j) { return whole || d < depth ? float(b(p, d, j)) : 0.0f; };
                unsigned u[4], v[2];
#pragma unroll
                for (unsigned e = 0u; e < 4u; ++e) {
                    const unsigned i = din_least(top + e % 2u * 8u, rows - 1u);
#if DIN_PRECISION == 1
                    u[e] = din_tf32(at(i, k + place + e / 2u * 4u));
#else
                    const unsigned d = k + place * 2u + e / 2u * 8u;
                    u[e] = din_bf16(at(i, d), at(i, d + 1u));
#endif
                }
#pragma unroll
                for (unsigned s = 0u; s < J; ++s) {
                    const unsigned j = din_least(left + s * 8u + group, N - 1u);
#pragma unroll
                    for (unsigned e = 0u; e < 2u; ++e) {
#if DIN_PRECISION == 1
                        v[e] = din_tf32(bt(k + place + e * 4u, j));
#else
                        const unsigned d = k + place * 2u + e * 8u;
                        v[e] = din_bf16(bt(d, j), bt(d + 1u, j));
#endif
                    }
#if DIN_PRECISION == 1
                    din_mma_tf32(sum[s], u, v);
#else
                    din_mma_bf16(sum[s], u, v);
#endif
                }
            }
        }
#pragma unroll
        for (unsigned s = 0u; s < J; ++s)
#pragma unroll
            for (unsigned e = 0u; e < 4u; ++e) {
                const unsigned row = top + e / 2u * 8u, column = left + s * 8u + place * 2u + e % 2u;
                if (row < rows && column < N) c(row, column, sum[s][e]);
            }
    }
}

#endif

// Narrow products gain nothing from tensor cores and stay exact.
template <unsigned N, unsigned PARTS, class A, class B, class C>
DIN_CALL void din_product(unsigned rows, unsigned depth, const A& a, const B& b, const C& c) {
#if DIN_PRECISION != 0
    if (N >= 8u) {
        din_product_mma<N, PARTS>(rows, depth, a, b, c);
        return;
    }
#endif
    din_product_f32<N, PARTS>(rows, depth, a, b, c);
}

// Operands: rows of an array, its transpose, rows times the sample's.
template <unsigned STRIDE> struct DinRows {
    DinPtr<const float> x;
    DIN_CALL_MEMBER float operator()(unsigned, unsigned i, unsigned k) const { return x[i * STRIDE + k]; }
};

template <unsigned STRIDE> struct DinColumns {
    DinPtr<const float> x;
    DIN_CALL_MEMBER float operator()(unsigned, unsigned i, unsigned k) const { return x[k * STRIDE + i]; }
};

// Part 0: x_ik; part 1: x_ik q_k of the entry's sample.
template <unsigned STRIDE, unsigned OF_SAMPLE> struct DinFolded {
    DinPtr<const float> x, q;
    DinPtr<const unsigned> sample;
    unsigned first;
    DIN_CALL_MEMBER float operator()(unsigned part, unsigned i, unsigned k) const {
        const float own = x[i * STRIDE + k];
        return part == 0u ? own : own * q[(sample[i] - first) * OF_SAMPLE + k];
    }
};

// The transpose of its part 1.
template <unsigned STRIDE, unsigned OF_SAMPLE> struct DinFoldedColumns {
    DinPtr<const float> x, q;
    DinPtr<const unsigned> sample;
    unsigned first;
    DIN_CALL_MEMBER float operator()(unsigned, unsigned k, unsigned i) const {
        return x[i * STRIDE + k] * q[(sample[i] - first) * OF_SAMPLE + k];
    }
};

// Two matrices, one below the other.
template <unsigned ROWS, unsigned STRIDE> struct DinStacked {
    DinPtr<const float> w;
    DIN_CALL_MEMBER float operator()(unsigned part, unsigned k, unsigned j) const { return w[(part * ROWS + k) * STRIDE + j]; }
};

// Results: stored, added, added times the sample's number, stored times the row's.
template <unsigned STRIDE> struct DinStore {
    DinPtr<float> out;
    DIN_CALL_MEMBER void operator()(unsigned i, unsigned j, float value) const { out[i * STRIDE + j] = value; }
};

template <unsigned STRIDE> struct DinAccumulate {
    DinPtr<float> out;
    DIN_CALL_MEMBER void operator()(unsigned i, unsigned j, float value) const {
        out[i * STRIDE + j] = out[i * STRIDE + j] + value;
    }
};

template <unsigned STRIDE, unsigned OF_SAMPLE> struct DinAccumulateTimes {
    DinPtr<float> out;
    DinPtr<const float> q;
    DinPtr<const unsigned> sample;
    unsigned first;
    DIN_CALL_MEMBER void operator()(unsigned i, unsigned j, float value) const {
        out[i * STRIDE + j] = out[i * STRIDE + j] + value * q[(sample[i] - first) * OF_SAMPLE + j];
    }
};

template <unsigned STRIDE, unsigned X_STRIDE> struct DinStoreTimes {
    DinPtr<float> out;
    DinPtr<const float> x;
    DIN_CALL_MEMBER void operator()(unsigned i, unsigned j, float value) const { out[i * STRIDE + j] = value * x[i * X_STRIDE + j]; }
};

// out_i = x_i W, or += where ACCUMULATE; W is K x N.
template <unsigned K, unsigned N, unsigned X, unsigned W, unsigned OUT, bool ACCUMULATE>
DIN_CALL void din_matmul(unsigned rows, DinPtr<const float> x, DinPtr<const float> w, DinPtr<float> out) {
    const DinRows<X> a = {x};
    const DinRows<W> b = {w};
    if (ACCUMULATE) {
        const DinAccumulate<OUT> c = {out};
        din_product<N, 1u>(rows, K, a, b, c);
    } else {
        const DinStore<OUT> c = {out};
        din_product<N, 1u>(rows, K, a, b, c);
    }
}

// out += sum_i x_i^T g_i, K x N.
template <unsigned K, unsigned N, unsigned X, unsigned G>
DIN_CALL void din_outer(unsigned rows, DinPtr<const float> x, DinPtr<const float> g, DinPtr<float> out) {
    const DinColumns<X> a = {x};
    const DinRows<G> b = {g};
    const DinAccumulate<N> c = {out};
    din_product<N, 1u>(K, rows, a, b, c);
}

// out_i = x_i W1 + (x_i * q_s) W2, s being the sample of entry i: W1 over W2 is 2 E x N.
template <unsigned E, unsigned N, unsigned X, unsigned Q, unsigned OUT>
DIN_CALL void din_fold(unsigned rows, DinPtr<const float> x, DinPtr<const float> q, DinPtr<const unsigned> sample, unsigned first,
                       DinPtr<const float> w, DinPtr<float> out) {
    const DinFolded<X, Q> a = {x, q, sample, first};
    const DinStacked<E, N> b = {w};
    const DinStore<OUT> c = {out};
    din_product<N, 2u>(rows, E, a, b, c);
}

// out_i = x_i W1^T + q_s * (x_i W2^T): W is N x 2 E and holds the transposes side by side.
template <unsigned E, unsigned N, unsigned X, unsigned Q, unsigned OUT>
DIN_CALL void din_fold_transposed(unsigned rows, DinPtr<const float> x, DinPtr<const float> q, DinPtr<const unsigned> sample,
                                  unsigned first, DinPtr<const float> w, DinPtr<float> out) {
    const DinRows<X> a = {x};
    const DinRows<2u * E> b1 = {w}, b2 = {w + E};
    const DinStore<OUT> c1 = {out};
    const DinAccumulateTimes<OUT, Q> c2 = {out, q, sample, first};
    din_product<E, 1u>(rows, N, a, b1, c1);
    din_product<E, 1u>(rows, N, a, b2, c2);
}

// out gains sum_i x_i^T g_i over sum_i (x_i * q_s)^T g_i, together 2 E x N.
template <unsigned E, unsigned N, unsigned X, unsigned Q, unsigned G>
DIN_CALL void din_fold_outer(unsigned rows, DinPtr<const float> x, DinPtr<const float> q, DinPtr<const float> g,
                             DinPtr<const unsigned> sample, unsigned first, DinPtr<float> out) {
    const DinColumns<X> a1 = {x};
    const DinFoldedColumns<X, Q> a2 = {x, q, sample, first};
    const DinRows<G> b = {g};
    const DinAccumulate<N> c1 = {out}, c2 = {out + E * N};
    din_product<N, 1u>(E, rows, a1, b, c1);
    din_product<N, 1u>(E, rows, a2, b, c2);
}

// out_s = sum over the entries i of sample s of x_i * (g_i W2^T), W2 being the lower half of w, 2 E x N; `products` has a row for each entry.
template <unsigned E, unsigned N, unsigned X, unsigned G, unsigned PRODUCTS, unsigned OUT>
DIN_CALL void din_fold_sum(unsigned rows, unsigned samples, DinPtr<const float> x, DinPtr<const float> g, DinPtr<const float> w,
                           DinPtr<const unsigned> ends, unsigned first, DinPtr<float> products, DinPtr<float> out) {
    const DinRows<G> a = {g};
    const DinColumns<N> b = {w + E * N};
    const DinStoreTimes<PRODUCTS, X> c = {products, x};
    din_product<E, 1u>(rows, N, a, b, c);
    din_barrier();
    for (unsigned at = din_thread(); at < samples * E; at += DIN_THREADS) {
        const unsigned s = at / E, k = at % E;
        float sum = 0.0f;
        for (unsigned i = ends[s] - first; i < ends[s + 1u] - first; ++i) sum += products[i * PRODUCTS + k];
        out[s * OUT + k] = sum;
    }
}

// ---- Sums over the samples of requests. A number with few like it is summed by several threads, each every so many terms, and theirs are added in
// order: who sums what depends on how many numbers the tile has.

// Numbers `0..items` of `sum`; `sums` has room for a number a thread. A number has sixteen threads at most.
template <class Sum> DIN_CALL void din_sum_terms(unsigned items, DinPtr<float> sums, const Sum& sum) {
    if (items == 0u || items > DIN_THREADS / 2u) {
        for (unsigned item = din_thread(); item < items; item += DIN_THREADS) sum.store(item, sum.terms(item, 0u, 1u));
        return;
    }
    const unsigned parts = din_least(DIN_THREADS / items, 16u);
    const unsigned item = din_thread() % items, part = din_thread() / items;
    if (part < parts) sums[din_thread()] = sum.terms(item, part, parts);
    din_barrier();
    if (din_thread() < items) {
        float all = sums[item];
        for (unsigned p = 1u; p < parts; ++p) all += sums[p * items + item];
        sum.store(item, all);
    }
}

template <unsigned WIDTH, unsigned X, unsigned OUT> struct DinOfRequests {
    unsigned first;
    DinPtr<const unsigned> samples;
    DinPtr<const float> x;
    DinPtr<float> out;
    DIN_CALL_MEMBER float terms(unsigned item, unsigned part, unsigned parts) const {
        const unsigned request = first + item / WIDTH, column = item % WIDTH, end = samples[request + 1u];
        float sum = 0.0f;
#pragma unroll 8
        for (unsigned s = samples[request] + part; s < end; s += parts) sum += x[size_t(s) * X + column];
        return sum;
    }
    DIN_CALL_MEMBER void store(unsigned item, float value) const { out[item / WIDTH * OUT + item % WIDTH] = value; }
};

// out_r = the sum of x_s over the samples s of request r, for the tile's requests from `first` on. `samples` has the first of each request.
template <unsigned WIDTH, unsigned X, unsigned OUT>
DIN_CALL void din_sum_samples(unsigned requests, unsigned first, DinPtr<const unsigned> samples, DinPtr<const float> x, DinPtr<float> sums,
                              DinPtr<float> out) {
    const DinOfRequests<WIDTH, X, OUT> sum = {first, samples, x, out};
    din_sum_terms(requests * WIDTH, sums, sum);
}

template <unsigned WIDTH, unsigned X, unsigned OUT> struct DinOfEntries {
    unsigned first;
    DinPtr<const unsigned> samples, request, entries, pairs;
    DinPtr<const float> x;
    DinPtr<float> out;
    DIN_CALL_MEMBER float terms(unsigned item, unsigned part, unsigned parts) const {
        const unsigned entry = item / WIDTH, column = item % WIDTH, r = request[entry];
        const unsigned begin = entries[r], count = entries[r + 1u] - begin;
        const unsigned from = samples[r] + part, to = samples[r + 1u];
        float sum = 0.0f;
        if (from < to) {
            const size_t step = size_t(count) * parts * X;
            size_t at = (size_t(pairs[from]) + (first + entry - begin)) * X + column;
#pragma unroll 8
            for (unsigned s = from; s < to; s += parts, at += step) sum += x[at];
        }
        return sum;
    }
    DIN_CALL_MEMBER void store(unsigned item, float value) const { out[item / WIDTH * OUT + item % WIDTH] = value; }
};

// out_e = the sum of x at entry e over the samples of its request, for the tile's entries from `first` on; each sample has as many pairs as its
// request has entries. `samples` and `entries` have the first of each request, `pairs` of each sample.
template <unsigned WIDTH, unsigned X, unsigned OUT>
DIN_CALL void din_sum_pairs(unsigned count, unsigned first, DinPtr<const unsigned> samples, DinPtr<const unsigned> request,
                            DinPtr<const unsigned> entries, DinPtr<const unsigned> pairs, DinPtr<const float> x, DinPtr<float> sums,
                            DinPtr<float> out) {
    const DinOfEntries<WIDTH, X, OUT> sum = {first, samples, request, entries, pairs, x, out};
    din_sum_terms(count * WIDTH, sums, sum);
}

template <unsigned WIDTH, unsigned X, unsigned OUT> struct DinOfGroup {
    unsigned first;
    DinPtr<const unsigned> begins, members;
    DinPtr<const float> x;
    DinPtr<float> out;
    DIN_CALL_MEMBER float terms(unsigned item, unsigned part, unsigned parts) const {
        const unsigned element = first + item / WIDTH, column = item % WIDTH, end = begins[element + 1u];
        float sum = 0.0f;
#pragma unroll 8
        for (unsigned m = begins[element] + part; m < end; m += parts) sum += x[size_t(members[m]) * X + column];
        return sum;
    }
    DIN_CALL_MEMBER void store(unsigned item, float value) const { out[item / WIDTH * OUT + item % WIDTH] = value; }
};

// out_g = the sum of x_i over the elements i that g stands for, members[begins[g]..begins[g + 1]], for the tile's elements from `first` on.
template <unsigned WIDTH, unsigned X, unsigned OUT>
DIN_CALL void din_sum_group(unsigned elements, unsigned first, DinPtr<const unsigned> begins, DinPtr<const unsigned> members,
                            DinPtr<const float> x, DinPtr<float> sums, DinPtr<float> out) {
    const DinOfGroup<WIDTH, X, OUT> sum = {first, begins, members, x, out};
    din_sum_terms(elements * WIDTH, sums, sum);
}

// out = w^T: w is K x N with rows STRIDE apart, out N x K.
template <unsigned K, unsigned N, unsigned STRIDE> DIN_CALL void din_transpose(DinPtr<const float> w, DinPtr<float> out) {
    for (unsigned i = din_chunk() * DIN_THREADS + din_thread(); i < K * N; i += din_chunks() * DIN_THREADS) {
        out[i] = w[i % K * STRIDE + i / K];
    }
}
