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
