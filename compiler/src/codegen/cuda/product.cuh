// ---- Products: c(i, j) receives the sum over parts p and k < K of a(p, i, k) b(p, k, j), for i <
// rows and j < N, in the order of p and k. A thread (a lane) has the same elements in every call of
// equal sizes.

// How threads share N columns: each of GROUPS has S of them, in fours that it can load at once
// where V is 4, the rest one by one. Neighbours have neighbouring columns.
template <unsigned N, unsigned S, unsigned V> struct DinColumnSplit {
    static constexpr unsigned GROUPS = (N + S - 1u) / S, FOURS = V == 4u && N % 4u == 0u ? S / 4u * 4u : 0u;
    static DIN_CALL_MEMBER unsigned column(unsigned group, unsigned s) {
        return s + 1u <= FOURS ? (s / 4u * GROUPS + group) * 4u + s % 4u : s * GROUPS + group;
    }
    // The same, or of the last columns where there is none.
    static DIN_CALL_MEMBER unsigned within(unsigned group, unsigned s) {
        const unsigned at = column(group, s);
        if (N == GROUPS * S) return at;
        return s + 1u <= FOURS ? din_min(at, N - 4u + s % 4u) : din_min(at, N - 1u);
    }
    // x at the columns.
    static DIN_CALL_MEMBER void load(DinPtr<const float> x, const unsigned (&column)[S], float (&to)[S]) {
#pragma unroll
        for (unsigned s = 0u; s + 4u <= FOURS; s += 4u) {
            float four[4];
            din_load(x + column[s], four);
#pragma unroll
            for (unsigned e = 0u; e < 4u; ++e) to[s + e] = four[e];
        }
#pragma unroll
        for (unsigned s = FOURS; s < S; ++s) to[s] = x[column[s]];
    }
    // Row i of the result.
    template <class C> static DIN_CALL_MEMBER void store(const C& c, unsigned i, unsigned group, const float (&sum)[S]) {
#pragma unroll
        for (unsigned s = 0u; s + 4u <= FOURS; s += 4u) {
            const unsigned at = column(group, s);
            const float four[4] = {sum[s], sum[s + 1u], sum[s + 2u], sum[s + 3u]};
            if (N == GROUPS * S || at < N) c.put(i, at, four);
        }
#pragma unroll
        for (unsigned s = FOURS; s < S; ++s) {
            const unsigned at = column(group, s);
            const float one[1] = {sum[s]};
            if (N == GROUPS * S || at < N) c.put(i, at, one);
        }
    }
};

// V steps along k of R x S sums.
template <unsigned V, class Share, unsigned R, unsigned S, class A, class B>
DIN_CALL void din_step(unsigned p, unsigned k, const A& a, const B& b, const typename A::Line (&row)[R], const unsigned (&j)[S], float (&sum)[R][S]) {
    float u[R][V], v[V][S];
#pragma unroll
    for (unsigned r = 0u; r < R; ++r) a.load(p, row[r], k, u[r]);
    b.template load<Share>(p, k, j, v);
#pragma unroll
    for (unsigned e = 0u; e < V; ++e)
#pragma unroll
        for (unsigned r = 0u; r < R; ++r)
#pragma unroll
            for (unsigned s = 0u; s < S; ++s) sum[r][s] += u[r][e] * v[e][s];
}

// In f32: a thread has R x S numbers. Its rows lie as far apart as there are threads below each
// other, so that all have equally many.
template <unsigned K, unsigned N, unsigned R, unsigned S, class A, class B, class C>
DIN_CALL void din_product_f32(unsigned rows, const A& a, const B& b, const C& c) {
    typedef DinColumnSplit<N, S, B::V> Share;
    constexpr unsigned V = A::V;
    const unsigned down = (rows + R - 1u) / R;
    for (unsigned tile = din_thread(); tile < down * Share::GROUPS; tile += DIN_THREADS) {
        const unsigned below = B::DOWN ? tile % down : tile / Share::GROUPS, beside = B::DOWN ? tile / down : tile % Share::GROUPS;
        typename A::Line row[R];
        unsigned j[S];
        float sum[R][S];
#pragma unroll
        for (unsigned r = 0u; r < R; ++r) row[r] = a.row(din_min(below + r * down, rows - 1u));
#pragma unroll
        for (unsigned s = 0u; s < S; ++s) j[s] = Share::within(beside, s);
#pragma unroll
        for (unsigned r = 0u; r < R; ++r)
#pragma unroll
            for (unsigned s = 0u; s < S; ++s) sum[r][s] = 0.0f;
#pragma unroll
        for (unsigned p = 0u; p < A::PARTS; ++p) {
            if constexpr (K >= V) {
#pragma unroll(R * S > 32u ? 1 : 2)
                for (unsigned k = 0u; k < K / V * V; k += V) din_step<V, Share>(p, k, a, b, row, j, sum);
            }
#pragma unroll
            for (unsigned k = K / V * V; k < K; ++k) din_step<1u, Share>(p, k, a, b, row, j, sum);
        }
#pragma unroll
        for (unsigned r = 0u; r < R; ++r) {
            if (below + r * down < rows) Share::store(c, below + r * down, beside, sum[r]);
        }
    }
}

// c(i, j) receives the sum over k < depth of a(k, i) b(k, j), for i < M: both are read along their
// rows.
template <unsigned M, unsigned N, unsigned R, unsigned S, class A, class B, class C>
DIN_CALL void din_outer_f32(unsigned depth, const A& a, const B& b, const C& c) {
    typedef DinColumnSplit<M, R, A::V> Down;
    typedef DinColumnSplit<N, S, B::V> Across;
    for (unsigned tile = din_thread(); tile < Down::GROUPS * Across::GROUPS; tile += DIN_THREADS) {
        const unsigned below = tile / Across::GROUPS, beside = tile % Across::GROUPS;
        unsigned i[R], j[S];
        float sum[R][S];
#pragma unroll
        for (unsigned r = 0u; r < R; ++r) i[r] = Down::within(below, r);
#pragma unroll
        for (unsigned s = 0u; s < S; ++s) j[s] = Across::within(beside, s);
#pragma unroll
        for (unsigned r = 0u; r < R; ++r)
#pragma unroll
            for (unsigned s = 0u; s < S; ++s) sum[r][s] = 0.0f;
#pragma unroll 4
        for (unsigned k = 0u; k < depth; ++k) {
            float u[1][R], v[1][S];
            a.template load<Down>(0u, k, i, u);
            b.template load<Across>(0u, k, j, v);
#pragma unroll
            for (unsigned r = 0u; r < R; ++r)
#pragma unroll
                for (unsigned s = 0u; s < S; ++s) sum[r][s] += u[0][r] * v[0][s];
        }
#pragma unroll
        for (unsigned r = 0u; r < R; ++r) {
            const unsigned at = Down::column(below, r);
            if (M == Down::GROUPS * R || at < M) Across::store(c, at, beside, sum[r]);
        }
    }
}

#if DIN_PRECISION != 0

// On tensor cores a warp has 16 I x 8 J numbers, in fragments. Beyond the last row and column the
// last is read again, and beyond the depth operands are 0. A fragment is rounded once and used by
// all that it meets.
#define DIN_DEEP (DIN_PRECISION == 1 ? 8u : 16u)

// Where a lane's fragments begin along k.
DIN_CALL unsigned din_begin() { return DIN_PRECISION == 1 ? din_lane() % 4u : din_lane() % 4u * 2u; }

// The number, or the two numbers along k, of register e of a lane's fragment; `x` is where the lane
// begins, `left` how far the end of k is from there.
template <bool WHOLE, unsigned STEP> DIN_CALL unsigned din_fragment(DinPtr<const float> x, unsigned e, unsigned left) {
#if DIN_PRECISION == 1
    return din_tf32(WHOLE || e * 4u < left ? float(x[e * 4u * STEP]) : 0.0f);
#else
    const float low = WHOLE || e * 8u < left ? float(x[e * 8u * STEP]) : 0.0f, high = WHOLE || e * 8u + 1u < left ? float(x[(e * 8u + 1u) * STEP]) : 0.0f;
    return din_bf16(low, high);
#endif
}

template <bool WHOLE, class A, class B, unsigned I, unsigned J>
DIN_CALL void din_step_mma(const DinPtr<const float> (&row)[2u * I], const DinPtr<const float> (&column)[J], unsigned left, float (&sum)[I][J][4]) {
    unsigned u[I][4];
#pragma unroll
    for (unsigned i = 0u; i < I; ++i)
#pragma unroll
        for (unsigned e = 0u; e < 4u; ++e) u[i][e] = din_fragment<WHOLE, A::STEP>(row[2u * i + e % 2u], e / 2u, left);
#pragma unroll
    for (unsigned j = 0u; j < J; ++j) {
        unsigned v[2];
#pragma unroll
        for (unsigned e = 0u; e < 2u; ++e) v[e] = din_fragment<WHOLE, B::STEP>(column[j], e, left);
#pragma unroll
        for (unsigned i = 0u; i < I; ++i) {
#if DIN_PRECISION == 1
            din_mma_tf32(sum[i][j], u[i], v);
#else
            din_mma_bf16(sum[i][j], u[i], v);
#endif
        }
    }
}

template <unsigned N, unsigned I, unsigned J, class A, class B, class C>
DIN_CALL void din_product_mma(unsigned rows, unsigned depth, const A& a, const B& b, const C& c) {
    constexpr unsigned ACROSS = (N + 8u * J - 1u) / (8u * J);
    const unsigned group = din_lane() / 4u, place = din_lane() % 4u;
    const unsigned tiles = (rows + 16u * I - 1u) / (16u * I) * ACROSS;
    for (unsigned tile = din_warp(); tile < tiles; tile += DIN_THREADS / 32u) {
        const unsigned top = tile / ACROSS * 16u * I + group, left = tile % ACROSS * 8u * J;
        float sum[I][J][4];
#pragma unroll
        for (unsigned i = 0u; i < I; ++i)
#pragma unroll
            for (unsigned j = 0u; j < J; ++j)
#pragma unroll
                for (unsigned e = 0u; e < 4u; ++e) sum[i][j][e] = 0.0f;
#pragma unroll
        for (unsigned p = 0u; p < A::PARTS; ++p) {
            DinPtr<const float> row[2u * I], column[J];
#pragma unroll
            for (unsigned i = 0u; i < 2u * I; ++i) {
                const unsigned at = top + i * 8u;
                row[i] = a.line(p, A::ROWS > 0u && A::ROWS % (16u * I) == 0u ? at : din_min(at, rows - 1u)) + din_begin() * A::STEP;
            }
#pragma unroll
            for (unsigned j = 0u; j < J; ++j) {
                const unsigned at = left + j * 8u + group;
                column[j] = b.line(p, N % (8u * J) == 0u ? at : din_min(at, N - 1u)) + din_begin() * B::STEP;
            }
            unsigned k = 0u;
#pragma unroll 2
            for (; k + DIN_DEEP <= depth; k += DIN_DEEP) {
                din_step_mma<true, A, B>(row, column, 0u, sum);
#pragma unroll
                for (unsigned i = 0u; i < 2u * I; ++i) row[i] = row[i] + DIN_DEEP * A::STEP;
#pragma unroll
                for (unsigned j = 0u; j < J; ++j) column[j] = column[j] + DIN_DEEP * B::STEP;
            }
            if (k < depth) din_step_mma<false, A, B>(row, column, depth - k > din_begin() ? depth - k - din_begin() : 0u, sum);
        }
#pragma unroll
        for (unsigned i = 0u; i < I; ++i)
#pragma unroll
            for (unsigned j = 0u; j < J; ++j)
#pragma unroll
                for (unsigned e = 0u; e < 4u; e += 2u) {
                    const unsigned at = top + i * 16u + e * 4u, beside = left + j * 8u + place * 2u;
                    const float two[2] = {sum[i][j][e], sum[i][j][e + 1u]}, one[1] = {sum[i][j][e]};
                    if (at < rows && beside + 1u < N) {
                        c.put(at, beside, two);
                    } else if (at < rows && beside < N) {
                        c.put(at, beside, one);
                    }
                }
    }
}

#endif

// Narrow products gain nothing from tensor cores and stay exact.
template <unsigned K, unsigned N, unsigned R, unsigned S, class A, class B, class C>
DIN_CALL void din_product(unsigned rows, const A& a, const B& b, const C& c) {
#if DIN_PRECISION != 0
    if (N >= 8u) {
        din_product_mma<N, R, S>(rows, K, a, b, c);
        return;
    }
#endif
    din_product_f32<K, N, R, S>(rows, a, b, c);
}

// An operand of an outer product, of M columns, as the left one of a product.
template <unsigned M, class A> struct DinOuterOperand {
    static constexpr unsigned PARTS = 1u, STEP = A::STEP, ROWS = M;
    A a;
    DIN_CALL_MEMBER DinPtr<const float> line(unsigned part, unsigned i) const { return a.line(part, i); }
};

// c(i, j) receives the sum over k < depth of a(k, i) b(k, j), for i < M.
template <unsigned M, unsigned N, unsigned R, unsigned S, class A, class B, class C>
DIN_CALL void din_outer(unsigned depth, const A& a, const B& b, const C& c) {
#if DIN_PRECISION != 0
    if (N >= 8u) {
        const DinOuterOperand<M, A> turned = {a};
        din_product_mma<N, R, S>(M, depth, turned, b, c);
        return;
    }
#endif
    din_outer_f32<M, N, R, S>(depth, a, b, c);
}

// Operands, `V` numbers of whose rows can be loaded at once. On the left: the rows of x.
template <unsigned STRIDE, unsigned VECTOR> struct DinRows {
    static constexpr unsigned V = VECTOR, PARTS = 1u, STEP = 1u, ROWS = 0u;
    typedef DinPtr<const float> Line;
    DinPtr<const float> x;
    DIN_CALL_MEMBER Line row(unsigned i) const { return x + i * STRIDE; }
    template <unsigned E> DIN_CALL_MEMBER void load(unsigned, const Line& row, unsigned k, float (&to)[E]) const { din_load(row + k, to); }
    DIN_CALL_MEMBER DinPtr<const float> line(unsigned, unsigned i) const { return x + i * STRIDE; }
};

// Part 0: the rows of x; part 1: those of z.
template <unsigned STRIDE, unsigned Z_STRIDE, unsigned VECTOR> struct DinTwoParts {
    static constexpr unsigned V = VECTOR, PARTS = 2u, STEP = 1u, ROWS = 0u;
    struct Line {
        DinPtr<const float> x, z;
    };
    DinPtr<const float> x, z;
    DIN_CALL_MEMBER Line row(unsigned i) const {
        const Line held = {x + i * STRIDE, z + i * Z_STRIDE};
        return held;
    }
    template <unsigned E> DIN_CALL_MEMBER void load(unsigned part, const Line& row, unsigned k, float (&to)[E]) const {
        din_load((part == 0u ? row.x : row.z) + k, to);
    }
    DIN_CALL_MEMBER DinPtr<const float> line(unsigned part, unsigned i) const { return part == 0u ? x + i * STRIDE : z + i * Z_STRIDE; }
};

// On the right (and on both sides of an outer product): a matrix by rows, the matrices of parts one
// below the other, ROWS rows each.
template <unsigned STRIDE, unsigned VECTOR, unsigned ROWS = 0u> struct DinMatrix {
    static constexpr unsigned V = VECTOR, STEP = STRIDE;
    static constexpr bool DOWN = false;
    DinPtr<const float> w;
    DIN_CALL_MEMBER DinPtr<const float> line(unsigned part, unsigned j) const { return w + (part * ROWS * STRIDE + j); }
    template <class Share, unsigned E, unsigned S>
    DIN_CALL_MEMBER void load(unsigned part, unsigned k, const unsigned (&j)[S], float (&to)[E][S]) const {
#pragma unroll
        for (unsigned e = 0u; e < E; ++e) Share::load(w + (part * ROWS + k + e) * STRIDE, j, to[e]);
    }
};

// The transpose of a matrix, read along k: neighbours have rows below each other, and the same
// columns.
template <unsigned STRIDE, unsigned VECTOR> struct DinTransposed {
    static constexpr unsigned V = 1u, STEP = 1u;
    static constexpr bool DOWN = true;
    DinPtr<const float> w;
    DIN_CALL_MEMBER DinPtr<const float> line(unsigned, unsigned j) const { return w + j * STRIDE; }
    template <class Share, unsigned E, unsigned S>
    DIN_CALL_MEMBER void load(unsigned, unsigned k, const unsigned (&j)[S], float (&to)[E][S]) const {
#pragma unroll
        for (unsigned s = 0u; s < S; ++s) {
            if (VECTOR == E) {
                float along[E];
                din_load(w + (j[s] * STRIDE + k), along);
#pragma unroll
                for (unsigned e = 0u; e < E; ++e) to[e][s] = along[e];
            } else {
#pragma unroll
                for (unsigned e = 0u; e < E; ++e) to[e][s] = w[j[s] * STRIDE + k + e];
            }
        }
    }
};

// Results: stored, added, added times the sample's number.
template <unsigned STRIDE, unsigned V> struct DinStore {
    DinPtr<float> out;
    template <unsigned E> DIN_CALL_MEMBER void put(unsigned i, unsigned j, const float (&value)[E]) const {
        din_store<V>(out + (i * STRIDE + j), value);
    }
};

template <unsigned STRIDE, unsigned V> struct DinAccumulate {
    DinPtr<float> out;
    template <unsigned E> DIN_CALL_MEMBER void put(unsigned i, unsigned j, const float (&value)[E]) const {
        float sum[E];
        din_load<V>(out + (i * STRIDE + j), sum);
#pragma unroll
        for (unsigned e = 0u; e < E; ++e) sum[e] += value[e];
        din_store<V>(out + (i * STRIDE + j), sum);
    }
};

// The first tile's are stored.
template <unsigned STRIDE, unsigned V> struct DinStoreFirst {
    DinPtr<float> out;
    bool first_tile;
    template <unsigned E> DIN_CALL_MEMBER void put(unsigned i, unsigned j, const float (&value)[E]) const {
        if (first_tile) {
            din_store<V>(out + (i * STRIDE + j), value);
        } else {
            const DinAccumulate<STRIDE, V> more = {out};
            more.put(i, j, value);
        }
    }
};

template <unsigned STRIDE, unsigned OF_SAMPLE, unsigned V> struct DinAccumulateTimes {
    DinPtr<float> out;
    DinPtr<const float> q;
    DinPtr<const unsigned> sample;
    unsigned first;
    template <unsigned E> DIN_CALL_MEMBER void put(unsigned i, unsigned j, const float (&value)[E]) const {
        float sum[E], by[E];
        din_load<V>(out + (i * STRIDE + j), sum);
        din_load<V>(q + ((sample[i] - first) * OF_SAMPLE + j), by);
#pragma unroll
        for (unsigned e = 0u; e < E; ++e) sum[e] += value[e] * by[e];
        din_store<V>(out + (i * STRIDE + j), sum);
    }
};

// Stored with another product's times the sample's.
template <unsigned STRIDE, unsigned MORE, unsigned OF_SAMPLE, unsigned V> struct DinStoreWith {
    DinPtr<float> out;
    DinPtr<const float> more, q;
    DinPtr<const unsigned> sample;
    unsigned first;
    template <unsigned E> DIN_CALL_MEMBER void put(unsigned i, unsigned j, const float (&value)[E]) const {
        float sum[E], by[E];
        din_load<V>(more + (i * MORE + j), sum);
        din_load<V>(q + ((sample[i] - first) * OF_SAMPLE + j), by);
#pragma unroll
        for (unsigned e = 0u; e < E; ++e) sum[e] = value[e] + sum[e] * by[e];
        din_store<V>(out + (i * STRIDE + j), sum);
    }
};

// out_i = x_i * q_s, s being the sample of entry i.
template <unsigned E, unsigned X, unsigned Q, unsigned OUT>
DIN_CALL void din_times_samples(unsigned rows, DinPtr<const float> x, DinPtr<const float> q, DinPtr<const unsigned> sample, unsigned first,
                                DinPtr<float> out) {
#pragma unroll 4
    for (unsigned at = din_thread(); at < rows * E; at += DIN_THREADS) {
        const unsigned i = at / E, k = at % E;
        out[i * OUT + k] = x[i * X + k] * q[(sample[i] - first) * Q + k];
    }
}

// out_s = the sum of the entries' rows of x times those of `products`, by sample.
template <unsigned E, unsigned PRODUCTS, unsigned X, unsigned OUT>
DIN_CALL void din_sum_entries(unsigned samples, DinPtr<const unsigned> ends, unsigned first, DinPtr<const float> products, DinPtr<const float> x,
                              DinPtr<float> out) {
    for (unsigned at = din_thread(); at < samples * E; at += DIN_THREADS) {
        const unsigned s = at / E, k = at % E;
        float sum = 0.0f;
#pragma unroll 4
        for (unsigned i = ends[s] - first, stop = ends[s + 1u] - first; i < stop; ++i) sum += products[i * PRODUCTS + k] * x[i * X + k];
        out[s * OUT + k] = sum;
    }
}

// The SIZE parts of each sample's row of x, of W values each, become the rows of its entries.
template <unsigned SIZE, unsigned W, unsigned X, unsigned OUT>
DIN_CALL void din_unflatten(unsigned samples, DinPtr<const float> x, DinPtr<float> out) {
    for (unsigned at = din_thread(); at < samples * (SIZE * W); at += DIN_THREADS) {
        const unsigned entry = at / W, k = at % W;
        out[entry * OUT + k] = x[entry / SIZE * X + entry % SIZE * W + k];
    }
}

// The other way.
template <unsigned SIZE, unsigned W, unsigned X, unsigned OUT>
DIN_CALL void din_flatten(unsigned samples, DinPtr<const float> x, DinPtr<float> out) {
    for (unsigned at = din_thread(); at < samples * (SIZE * W); at += DIN_THREADS) {
        const unsigned entry = at / W, k = at % W;
        out[entry / SIZE * OUT + entry % SIZE * W + k] = x[entry * X + k];
    }
}

// out = w^T: w is K x N with rows STRIDE apart, out N x K.
template <unsigned K, unsigned N, unsigned STRIDE> DIN_CALL void din_transpose(DinPtr<const float> w, DinPtr<float> out) {
    for (unsigned i = din_chunk() * DIN_THREADS + din_thread(); i < K * N; i += din_chunks() * DIN_THREADS) {
        out[i] = w[i % K * STRIDE + i / K];
    }
}
