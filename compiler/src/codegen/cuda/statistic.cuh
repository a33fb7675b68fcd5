// ---- Statistics: of each the function for the rows of a tile, and the one that joins the chunks'
// partials. `statistic.rs` beside this file says what both are given.

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
// GROUPS threads a column sum every so many rows each, first the numbers, then the squares of their
// differences from the mean; `sums` has room for both of each thread.
template <unsigned WIDTH, unsigned STRIDE, unsigned GROUPS>
DIN_CALL void din_moments(unsigned rows, DinPtr<const float> x, DinPtr<float> sums, DinPtr<float> total) {
    constexpr unsigned ROOM = DIN_THREADS;
    const float count = total[2u * WIDTH];
    for (unsigned first = 0u; first < WIDTH; first += DIN_THREADS) {
        const unsigned c = first + din_thread() % (GROUPS > 1u ? WIDTH : DIN_THREADS), g = GROUPS > 1u ? din_thread() / WIDTH : 0u;
        const bool mine = rows > 0u && c < WIDTH && g < GROUPS;
        float sum = 0.0f, squares = 0.0f;
#pragma unroll 4
        for (unsigned r = g; mine && r < rows; r += GROUPS) sum += x[r * STRIDE + c];
        if (GROUPS > 1u) {
            if (mine) sums[g * WIDTH + c] = sum;
            din_barrier();
            if (mine) {
                sum = sums[c];
#pragma unroll
                for (unsigned other = 1u; other < GROUPS; ++other) sum += sums[other * WIDTH + c];
            }
        }
        const float mean = mine ? sum / float(rows) : 0.0f;
#pragma unroll 4
        for (unsigned r = g; mine && r < rows; r += GROUPS) {
            const float d = x[r * STRIDE + c] - mean;
            squares += d * d;
        }
        if (GROUPS > 1u) {
            if (mine) sums[ROOM + g * WIDTH + c] = squares;
            din_barrier();
            if (mine && g == 0u) {
#pragma unroll
                for (unsigned other = 1u; other < GROUPS; ++other) squares += sums[ROOM + other * WIDTH + c];
            }
        }
        if (mine && g == 0u) {
            const DinMoments before = {total[c], total[WIDTH + c], count};
            const DinMoments more = {mean, squares, float(rows)};
            const DinMoments all = din_chan(before, more);
            total[c] = all.mean;
            total[WIDTH + c] = all.squares;
        }
    }
    din_barrier();
    if (din_thread() == 0u) total[2u * WIDTH] = count + float(rows);
}

// Of each column the mean and the sum of squares; the count is one of all.
template <unsigned WIDTH, unsigned STRIDE, unsigned PLANE> struct DinMomentCopies {
    typedef DinMoments Value;
    DinPtr<const float> first;
    DinPtr<float> into;
    DIN_CALL_MEMBER DinMoments load(unsigned chunk, unsigned column) const {
        const DinPtr<const float> copy = first + size_t(chunk) * STRIDE;
        const DinMoments held = {copy[column], copy[WIDTH + column], copy[2u * WIDTH]};
        return held;
    }
    DIN_CALL_MEMBER void store(unsigned column, const DinMoments& all) const {
        into[column] = all.mean;
        into[WIDTH + column] = all.count > 0.0f ? all.squares / all.count : 0.0f;
    }
    static DIN_CALL_MEMBER DinMoments join(const DinMoments& a, const DinMoments& b) { return din_chan(a, b); }
    static DIN_CALL_MEMBER DinMoments none() {
        const DinMoments held = {0.0f, 0.0f, 0.0f};
        return held;
    }
    static DIN_CALL_MEMBER void keep(DinPtr<float> sums, unsigned at, const DinMoments& value) {
        sums[at] = value.mean;
        sums[at + PLANE] = value.squares;
        sums[at + 2u * PLANE] = value.count;
    }
    static DIN_CALL_MEMBER DinMoments kept(DinPtr<float> sums, unsigned at) {
        const DinMoments held = {sums[at], sums[at + PLANE], sums[at + 2u * PLANE]};
        return held;
    }
};

// WIDTH means, then as many biased variances; 0 where nothing was counted. `sums` has three planes.
template <unsigned WIDTH, unsigned STRIDE, unsigned FIRST, unsigned PLANE>
DIN_CALL void din_join_moments(unsigned chunks, DinPtr<const float> copies, DinPtr<float> sums, DinPtr<float> into) {
    const DinMomentCopies<WIDTH, STRIDE, PLANE> all = {copies, into};
    din_join_sets<WIDTH, FIRST>(chunks, sums, all);
}
