// ---- The blocks' copies of partial sums, joined. Neighbours are joined first, then neighbouring
// pairs, and so on; what has no neighbour is taken as it is. So the order depends on the number of
// copies alone.

// Copies that a thread joins on its own, and columns of a set: each warp takes every so many runs
// of copies, a lane a column.
#define DIN_RUN 8u
#define DIN_SET 32u

// What is joined in registers: the run from copy `first` on. The loads do not wait for each other.
template <class Copies> DIN_CALL typename Copies::Value din_join_run(unsigned first, unsigned chunks, const Copies& copies, unsigned column) {
    typename Copies::Value x[DIN_RUN];
#pragma unroll
    for (unsigned c = 0u; c < DIN_RUN; ++c) x[c] = first + c < chunks ? copies.load(first + c, column) : Copies::none();
#pragma unroll
    for (unsigned span = 1u; span < DIN_RUN; span *= 2u)
#pragma unroll
        for (unsigned c = 0u; c < DIN_RUN; c += 2u * span) {
            if (first + c + span < chunks) x[c] = Copies::join(x[c], x[c + span]);
        }
    return x[0];
}

// Blocks share the sets of columns of all calls of a kernel, of which those of this call begin at
// FIRST. `sums` has room for a value of each lane and run.
template <unsigned WIDTH, unsigned FIRST, class Copies> DIN_CALL void din_join_sets(unsigned chunks, DinPtr<float> sums, const Copies& copies) {
    constexpr unsigned WARPS = DIN_THREADS / 32u, SETS = (WIDTH + DIN_SET - 1u) / DIN_SET;
    const unsigned runs = (chunks + DIN_RUN - 1u) / DIN_RUN, lane = din_lane();
    unsigned set = din_chunk();
    if (set + 1u <= FIRST) set += (FIRST - set + din_chunks() - 1u) / din_chunks() * din_chunks();
    for (; set < FIRST + SETS; set += din_chunks()) {
        const unsigned column = (set - FIRST) * DIN_SET + lane;
        const bool mine = column < WIDTH;
        for (unsigned run = din_warp(); run < runs; run += WARPS) {
            if (mine) Copies::keep(sums, run * DIN_SET + lane, din_join_run(run * DIN_RUN, chunks, copies, column));
        }
        din_barrier();
        for (unsigned span = 1u; span < runs; span *= 2u) {
            for (unsigned run = din_warp() * 2u * span; run + span < runs; run += WARPS * 2u * span) {
                const unsigned at = run * DIN_SET + lane;
                if (mine) Copies::keep(sums, at, Copies::join(Copies::kept(sums, at), Copies::kept(sums, at + span * DIN_SET)));
            }
            din_barrier();
        }
        if (din_warp() == 0u && mine) copies.store(column, runs > 0u ? Copies::kept(sums, lane) : Copies::none());
        // The next set uses the same room.
        din_barrier();
    }
}

template <class How, unsigned STRIDE> struct DinCopies {
    typedef float Value;
    DinPtr<const float> first;
    DinPtr<float> into;
    DIN_CALL_MEMBER float load(unsigned chunk, unsigned column) const { return first[size_t(chunk) * STRIDE + column]; }
    DIN_CALL_MEMBER void store(unsigned column, float value) const { into[column] = value; }
    static DIN_CALL_MEMBER float join(float a, float b) { return How::join(a, b); }
    static DIN_CALL_MEMBER float none() { return How::none(); }
    static DIN_CALL_MEMBER void keep(DinPtr<float> sums, unsigned at, float value) { sums[at] = value; }
    static DIN_CALL_MEMBER float kept(DinPtr<float> sums, unsigned at) { return sums[at]; }
};

template <unsigned WIDTH, unsigned STRIDE, unsigned FIRST>
DIN_CALL void din_join_copies(unsigned chunks, DinPtr<const float> copies, DinPtr<float> sums, DinPtr<float> into) {
    const DinCopies<DinAdd, STRIDE> all = {copies, into};
    din_join_sets<WIDTH, FIRST>(chunks, sums, all);
}

template <unsigned WIDTH, unsigned STRIDE, unsigned FIRST>
DIN_CALL void din_join_maxima(unsigned chunks, DinPtr<const float> copies, DinPtr<float> sums, DinPtr<float> into) {
    const DinCopies<DinMax, STRIDE> all = {copies, into};
    din_join_sets<WIDTH, FIRST>(chunks, sums, all);
}

