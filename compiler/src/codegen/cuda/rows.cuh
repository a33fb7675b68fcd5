// Row gradients of all tables of a step: `rows` of din-program's `cuda` says what these kernels do,
// in which order, and what they are given.
//
// Where a table has rows on the host too, din_rows_out and din_rows_in come before the step: the
// rows that it does not read make way for those that it does. Rows are still sorted by their
// numbers in the whole table, so that nothing depends on where they are. Of a table whose update
// sums over rows they are sorted by their positions in the order of their ids, and their places say
// where they are.
//
// A digit's launches have the keys and places in turn in both pairs of buffers. Lanes of a warp
// meet in its own counters, at barriers of the warp.
//
// Pointers and scalars have the names that `print_rows_header` there writes before this text.

#define DIN_WARPS (DIN_THREADS / 32u)
// A digit has DIN_DIGITS values, a thread DIN_ROUNDS occurrences: every 32nd of its warp's, which
// are consecutive.

// The last of `count` ascending words, `step` apart, that is at most `value`; the first is.
DIN_CALL unsigned din_last(DinPtr<const unsigned> words, unsigned step, unsigned count, unsigned value) {
    unsigned low = 0u, high = count;
    while (high - low > 1u) {
        const unsigned middle = low + (high - low) / 2u;
        if (words[middle * step] <= value) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// A table of the step.
struct DinTable {
    DinPointers pointers;
    DinPtr<const unsigned> words, features;
    unsigned number, count;
    DIN_CALL_MEMBER unsigned word(unsigned which) const { return words[which]; }
    template <class T> DIN_CALL_MEMBER DinPtr<T> at(unsigned which) const {
        return din_pointer<T>(pointers, DIN_TABLES + number * DIN_TABLE_POINTERS + which);
    }
    template <class T> DIN_CALL_MEMBER DinPtr<T> of_feature(unsigned f, unsigned which) const {
        const unsigned feature = words[DIN_FIRST_FEATURE] + f;
        return din_pointer<T>(pointers, DIN_TABLES + count * DIN_TABLE_POINTERS + feature * DIN_FEATURE_POINTERS + which);
    }
    // The feature of an occurrence, which becomes the number of the feature's element.
    DIN_CALL_MEMBER unsigned feature(unsigned& element) const {
        const unsigned f = din_last(features + DIN_BEFORE, DIN_FEATURE_SCALARS, words[DIN_FEATURES], element);
        element -= features[f * DIN_FEATURE_SCALARS + DIN_BEFORE];
        return f;
    }
    // Where the row of an occurrence is in the table's arrays.
    DIN_CALL_MEMBER unsigned row_at(unsigned row, unsigned element) const {
        const unsigned f = feature(element);
        const DinPtr<const unsigned> places = of_feature<const unsigned>(f, DIN_FEATURE_PLACES);
        return places ? places[element] : row;
    }
};

DIN_CALL DinTable din_table(DinPointers pointers, unsigned number) {
    const DinPtr<const unsigned> all = din_pointer<const unsigned>(pointers, DIN_SCALARS);
    const unsigned count = all[0];
    const DinPtr<const unsigned> words = all + (1u + number * DIN_TABLE_SCALARS);
    const DinPtr<const unsigned> features = all + (1u + count * DIN_TABLE_SCALARS + words[DIN_FIRST_FEATURE] * DIN_FEATURE_SCALARS);
    const DinTable table = {pointers, words, features, number, count};
    return table;
}

// The table that a block works for, and the block's number among that table's.
DIN_CALL DinTable din_table_of(DinPointers pointers, unsigned first, unsigned& block) {
    const DinPtr<const unsigned> all = din_pointer<const unsigned>(pointers, DIN_SCALARS);
    const DinTable table = din_table(pointers, din_last(all + (1u + first), DIN_TABLE_SCALARS, all[0], din_chunk()));
    block = din_chunk() - table.word(first);
    return table;
}

// The warp's share of a table's occurrences begins here.
DIN_CALL unsigned din_first_of(unsigned block) { return (block * DIN_WARPS + din_warp()) * 32u * DIN_ROUNDS; }

// The lanes before this one.
DIN_CALL unsigned din_below(unsigned lanes) { return din_popcount(lanes & ((1u << din_lane()) - 1u)); }

// The sum of the lanes' numbers up to this one's.
DIN_CALL unsigned din_scan_warp(unsigned x) {
    unsigned before = x;
    for (unsigned step = 1u; step < 32u; step *= 2u) {
        const unsigned other = din_shuffle_from(before, din_lane() >= step ? din_lane() - step : din_lane());
        if (din_lane() >= step) before += other;
    }
    return before;
}

// The sum of the threads' numbers before this one; `total` becomes the sum of all. Needs a word a
// warp, which it leaves in use.
DIN_CALL unsigned din_scan(unsigned x, DinPtr<unsigned> sums, unsigned& total) {
    const unsigned before = din_scan_warp(x);
    if (din_lane() == 31u) sums[din_warp()] = before;
    din_barrier();
    unsigned warps = 0u;
    total = 0u;
    for (unsigned w = 0u; w < DIN_WARPS; ++w) {
        if (w < din_warp()) warps += sums[w];
        total += sums[w];
    }
    return warps + before - x;
}

// Keys are row numbers; the place of an occurrence counts through the table's features, one behind
// the other.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_keys(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block;
    const DinTable table = din_table_of(pointers, DIN_FIRST_BLOCK, block);
    const unsigned before = table.word(DIN_FIRST), total = table.word(DIN_TOTAL), first = din_first_of(block);
    const DinPtr<unsigned> keys = din_pointer<unsigned>(pointers, DIN_KEYS) + before;
    const DinPtr<unsigned> places = din_pointer<unsigned>(pointers, DIN_PLACES) + before;
#pragma unroll
    for (unsigned r = 0u; r < DIN_ROUNDS; ++r) {
        const unsigned i = first + r * 32u + din_lane();
        if (i < total) {
            unsigned element = i;
            const unsigned f = table.feature(element);
            keys[i] = table.of_feature<const unsigned>(f, DIN_FEATURE_ROWS)[element];
            places[i] = i;
        }
    }
}

// The warp's counters become its occurrences by digit; `key` and `rank` their keys, and how many
// with the same digit come before in the warp.
DIN_CALL void din_digits(DinPtr<const unsigned> keys, DinPtr<unsigned> counters, unsigned first, unsigned total, unsigned shift,
                         unsigned (&key)[DIN_ROUNDS], unsigned (&rank)[DIN_ROUNDS]) {
#pragma unroll
    for (unsigned r = 0u; r < DIN_ROUNDS; ++r) {
        const unsigned i = first + r * 32u + din_lane();
        key[r] = i < total ? keys[i] : 0u;
    }
    for (unsigned d = din_lane(); d < DIN_DIGITS; d += 32u) counters[d] = 0u;
    din_warp_barrier();
#pragma unroll
    for (unsigned r = 0u; r < DIN_ROUNDS; ++r) {
        const bool in = first + r * 32u + din_lane() < total;
        const unsigned digit = (key[r] >> shift) % DIN_DIGITS;
        unsigned same = din_ballot(in);
#pragma unroll
        for (unsigned bit = 1u; bit < DIN_DIGITS; bit *= 2u) {
            const unsigned with = din_ballot((digit & bit) != 0u);
            same &= (digit & bit) != 0u ? with : ~with;
        }
        const unsigned before = in ? counters[digit] : 0u;
        rank[r] = before + din_below(same);
        din_warp_barrier();
        if (in && din_below(same) == 0u) counters[digit] = before + din_popcount(same);
        din_warp_barrier();
    }
}

extern "C" DIN_KERNEL(DIN_THREADS) din_rows_count(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block, key[DIN_ROUNDS], rank[DIN_ROUNDS];
    const DinTable table = din_table_of(pointers, DIN_FIRST_BLOCK, block);
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(pointers, DIN_KEYS) + table.word(DIN_FIRST);
    const DinPtr<unsigned> counters = din_shared_u32();
    din_digits(keys, counters + din_warp() * DIN_DIGITS, din_first_of(block), table.word(DIN_TOTAL), scalars[DIN_SHIFT], key, rank);
    din_barrier();
    const unsigned blocks = table.word(DIN_BLOCKS);
    const DinPtr<unsigned> all = din_pointer<unsigned>(pointers, DIN_COUNTS) + table.word(DIN_FIRST_BLOCK) * DIN_DIGITS;
    for (unsigned d = din_thread(); d < DIN_DIGITS; d += DIN_THREADS) {
        unsigned sum = 0u;
        for (unsigned w = 0u; w < DIN_WARPS; ++w) sum += counters[w * DIN_DIGITS + d];
        all[d * blocks + block] = sum;
    }
}

// Each of `count` numbers becomes the sum of those before; gives the sum of all. One warp's work.
DIN_CALL unsigned din_sums_before(DinPtr<unsigned> counts, unsigned count) {
    unsigned before = 0u;
    for (unsigned first = 0u; first < count; first += 128u) {
        unsigned own[4], sum = 0u;
#pragma unroll
        for (unsigned k = 0u; k < 4u; ++k) {
            const unsigned i = first + din_lane() * 4u + k;
            own[k] = i < count ? counts[i] : 0u;
            sum += own[k];
        }
        const unsigned up = din_scan_warp(sum);
        unsigned at = before + up - sum;
#pragma unroll
        for (unsigned k = 0u; k < 4u; ++k) {
            const unsigned i = first + din_lane() * 4u + k;
            if (i < count) counts[i] = at;
            at += own[k];
        }
        before += din_shuffle_from(up, 31u);
    }
    return before;
}

// Where the sums of a table's digits lie: behind all counts.
DIN_CALL DinPtr<unsigned> din_of_digits(const DinTable& table) {
    const DinTable last = din_table(table.pointers, table.count - 1u);
    const unsigned blocks = last.word(DIN_FIRST_BLOCK) + last.word(DIN_BLOCKS);
    return din_pointer<unsigned>(table.pointers, DIN_COUNTS) + (blocks + table.number) * DIN_DIGITS;
}

// A warp a table and digit: counts become the sums of those of earlier blocks.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_scan(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    const unsigned item = din_chunk() * DIN_WARPS + din_warp(), number = item / DIN_DIGITS, d = item % DIN_DIGITS;
    if (number >= din_pointer<const unsigned>(pointers, DIN_SCALARS)[0]) return;
    const DinTable table = din_table(pointers, number);
    const unsigned blocks = table.word(DIN_BLOCKS);
    const DinPtr<unsigned> all = din_pointer<unsigned>(pointers, DIN_COUNTS) + table.word(DIN_FIRST_BLOCK) * DIN_DIGITS;
    const unsigned sum = din_sums_before(all + d * blocks, blocks);
    if (din_lane() == 0u) din_of_digits(table)[d] = sum;
}

// Occurrences move behind those with a smaller digit, of an earlier block, of an earlier warp, or
// earlier in the warp.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_scatter(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block, key[DIN_ROUNDS], rank[DIN_ROUNDS];
    const DinTable table = din_table_of(pointers, DIN_FIRST_BLOCK, block);
    const unsigned before = table.word(DIN_FIRST), total = table.word(DIN_TOTAL), first = din_first_of(block), shift = scalars[DIN_SHIFT];
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(pointers, DIN_KEYS) + before;
    const DinPtr<const unsigned> places = din_pointer<const unsigned>(pointers, DIN_PLACES) + before;
    const DinPtr<unsigned> to_keys = din_pointer<unsigned>(pointers, DIN_OTHER_KEYS) + before;
    const DinPtr<unsigned> to_places = din_pointer<unsigned>(pointers, DIN_OTHER_PLACES) + before;
    const DinPtr<unsigned> counters = din_shared_u32();
    din_digits(keys, counters + din_warp() * DIN_DIGITS, first, total, shift, key, rank);
    // A thread has some consecutive digits.
    constexpr unsigned SHARE = (DIN_DIGITS + DIN_THREADS - 1u) / DIN_THREADS;
    const DinPtr<const unsigned> of_digits = din_of_digits(table);
    const unsigned blocks = table.word(DIN_BLOCKS);
    const DinPtr<const unsigned> all = din_pointer<const unsigned>(pointers, DIN_COUNTS) + table.word(DIN_FIRST_BLOCK) * DIN_DIGITS;
    unsigned own[SHARE], sum = 0u, whole;
#pragma unroll
    for (unsigned k = 0u; k < SHARE; ++k) {
        const unsigned d = din_thread() * SHARE + k;
        own[k] = d < DIN_DIGITS ? of_digits[d] : 0u;
        sum += own[k];
    }
    // Its barrier also has all counters stand.
    unsigned smaller = din_scan(sum, counters + DIN_WARPS * DIN_DIGITS, whole);
#pragma unroll
    for (unsigned k = 0u; k < SHARE; ++k) {
        const unsigned d = din_thread() * SHARE + k;
        if (d < DIN_DIGITS) {
            unsigned at = smaller + all[d * blocks + block];
            for (unsigned w = 0u; w < DIN_WARPS; ++w) {
                const unsigned count = counters[w * DIN_DIGITS + d];
                counters[w * DIN_DIGITS + d] = at;
                at += count;
            }
        }
        smaller += own[k];
    }
    din_barrier();
#pragma unroll
    for (unsigned r = 0u; r < DIN_ROUNDS; ++r) {
        const unsigned i = first + r * 32u + din_lane();
        if (i < total) {
            const unsigned to = counters[din_warp() * DIN_DIGITS + (key[r] >> shift) % DIN_DIGITS] + rank[r];
            to_keys[to] = key[r];
            to_places[to] = places[i];
        }
    }
}

// The lanes whose occurrences begin a row.
DIN_CALL unsigned din_heads(DinPtr<const unsigned> keys, unsigned i, unsigned total) {
    return din_ballot(i < total && (i == 0u || keys[i] != keys[i - 1u]));
}

extern "C" DIN_KERNEL(DIN_THREADS) din_rows_heads(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block, heads = 0u;
    const DinTable table = din_table_of(pointers, DIN_FIRST_BLOCK, block);
    const unsigned total = table.word(DIN_TOTAL), first = din_first_of(block);
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(pointers, DIN_KEYS) + table.word(DIN_FIRST);
    for (unsigned r = 0u; r < DIN_ROUNDS; ++r) heads += din_popcount(din_heads(keys, first + r * 32u + din_lane(), total));
    const DinPtr<unsigned> sums = din_shared_u32();
    if (din_lane() == 0u) sums[din_warp()] = heads;
    din_barrier();
    if (din_thread() == 0u) {
        unsigned sum = 0u;
        for (unsigned w = 0u; w < DIN_WARPS; ++w) sum += sums[w];
        din_pointer<unsigned>(pointers, DIN_COUNTS)[din_chunk()] = sum;
    }
}

// A warp a table: the rows that begin before each block, and in all.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_scan_heads(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    const unsigned number = din_chunk() * DIN_WARPS + din_warp();
    if (number >= din_pointer<const unsigned>(pointers, DIN_SCALARS)[0]) return;
    const DinTable table = din_table(pointers, number);
    const DinPtr<unsigned> counts = din_pointer<unsigned>(pointers, DIN_COUNTS) + table.word(DIN_FIRST_BLOCK);
    const unsigned distinct = din_sums_before(counts, table.word(DIN_BLOCKS));
    if (din_lane() == 0u && table.word(DIN_EVERY) == 0u) {
        table.at<unsigned>(DIN_BEGINS)[distinct] = table.word(DIN_TOTAL);
        table.at<unsigned>(DIN_ELEMENTS)[0] = distinct;
        table.at<float>(DIN_ROW_COUNT)[0] = float(distinct);
    }
}

extern "C" DIN_KERNEL(DIN_THREADS) din_rows_list(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block, heads = 0u;
    const DinTable table = din_table_of(pointers, DIN_FIRST_BLOCK, block);
    const unsigned total = table.word(DIN_TOTAL), first = din_first_of(block), piece = table.word(DIN_PIECE);
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(pointers, DIN_KEYS) + table.word(DIN_FIRST);
    const DinPtr<const unsigned> places = din_pointer<const unsigned>(pointers, DIN_PLACES) + table.word(DIN_FIRST);
    const DinPtr<unsigned> rows = table.at<unsigned>(DIN_ROWS), begins = table.at<unsigned>(DIN_BEGINS), pieces = table.at<unsigned>(DIN_PIECES);
    const DinPtr<float> updates = table.at<float>(DIN_UPDATES);
    const bool listed = table.word(DIN_EVERY) == 0u;
    for (unsigned r = 0u; r < DIN_ROUNDS; ++r) heads += din_popcount(din_heads(keys, first + r * 32u + din_lane(), total));
    const DinPtr<unsigned> sums = din_shared_u32();
    if (din_lane() == 0u) sums[din_warp()] = heads;
    din_barrier();
    unsigned before = din_pointer<const unsigned>(pointers, DIN_COUNTS)[din_chunk()];
    for (unsigned w = 0u; w < din_warp(); ++w) before += sums[w];
    for (unsigned r = 0u; r < DIN_ROUNDS; ++r) {
        const unsigned i = first + r * 32u + din_lane(), lanes = din_heads(keys, i, total), at = before + din_below(lanes);
        if (i < total && i % piece == 0u) pieces[i / piece] = at;
        if (listed && (lanes >> din_lane() & 1u) != 0u) {
            const unsigned row = table.row_at(keys[i], places[i]);
            rows[at] = row;
            begins[at] = i;
            if (updates) updates[row] = updates[row] + 1.0f;
        }
        before += din_popcount(lanes);
    }
}

// All rows of a table, by the numbers that they are sorted by: where their occurrences begin; the
// gradient of those without any is 0.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_every(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block;
    const DinTable table = din_table_of(pointers, DIN_FIRST_WHOLE, block);
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(pointers, DIN_KEYS) + table.word(DIN_FIRST);
    const DinPtr<unsigned> rows = table.at<unsigned>(DIN_ROWS), begins = table.at<unsigned>(DIN_BEGINS), occurs = din_shared_u32();
    const DinPtr<float> in_batch = table.at<float>(DIN_IN_BATCH), updates = table.at<float>(DIN_UPDATES);
    const DinPtr<const unsigned> order = table.at<const unsigned>(DIN_ORDER);
    const unsigned total = table.word(DIN_TOTAL), all = table.word(DIN_TABLE_ROWS), width = table.word(DIN_WIDTH);
    const unsigned first = block * DIN_THREADS, r = first + din_thread();
    if (r < all) {
        unsigned low = 0u, high = total;
        while (low < high) {
            const unsigned middle = low + (high - low) / 2u;
            if (keys[middle] < r) {
                low = middle + 1u;
            } else {
                high = middle;
            }
        }
        const bool found = low < total && keys[low] == r;
        const unsigned row = order ? order[r] : r;
        rows[r] = row;
        begins[r] = low;
        in_batch[r] = found ? 1.0f : 0.0f;
        if (updates && found) updates[row] = updates[row] + 1.0f;
        occurs[din_thread()] = found ? 1u : 0u;
    }
    if (r == 0u) {
        begins[all] = total;
        table.at<unsigned>(DIN_ELEMENTS)[0] = all;
        table.at<float>(DIN_ROW_COUNT)[0] = float(all);
    }
    din_barrier();
    const DinPtr<float> gradient = table.at<float>(DIN_GRADIENT) + size_t(first) * width;
    for (unsigned k = din_thread(); k < din_min(DIN_THREADS, all - first) * width; k += DIN_THREADS) {
        if (occurs[k / width] == 0u) gradient[k] = 0.0f;
    }
}

// The piece of a group of lanes, and the lane's first column.
DIN_CALL unsigned din_piece(const DinTable& table, unsigned block, unsigned& column) {
    const unsigned lanes = table.word(DIN_LANES);
    column = din_thread() % lanes;
    return block * (DIN_THREADS / lanes) + din_thread() / lanes;
}

// A group of lanes a piece, columns over the lanes. A row is cut into parts from its own beginning
// on, as long as a piece; a group sums the parts that begin in its piece, the last of which may go
// on behind it. So the order of a row's sum does not depend on the rows before it, whose numbers
// say only in which order they came. The sum of a row of one part is done; others are joined by the
// next kernel.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_sum(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block, first_column;
    const DinTable table = din_table_of(pointers, DIN_FIRST_SUM, block);
    const unsigned p = din_piece(table, block, first_column), piece = table.word(DIN_PIECE), total = table.word(DIN_TOTAL);
    if (p >= (total + piece - 1u) / piece) return;
    const unsigned width = table.word(DIN_WIDTH), lanes = table.word(DIN_LANES);
    const bool every = table.word(DIN_EVERY) != 0u;
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(pointers, DIN_KEYS) + table.word(DIN_FIRST);
    const DinPtr<const unsigned> places = din_pointer<const unsigned>(pointers, DIN_PLACES) + table.word(DIN_FIRST);
    const DinPtr<const unsigned> begins = table.at<const unsigned>(DIN_BEGINS), pieces = table.at<const unsigned>(DIN_PIECES);
    // The parts that begin in the piece lie here.
    unsigned begin = p * piece, end = din_min(begin + piece, total);
    bool began_here = true;
    if (begin > 0u && keys[begin - 1u] == keys[begin]) {
        const unsigned row = every ? keys[begin] : pieces[p] - 1u, from = begins[row], behind = begins[row + 1u];
        const unsigned part = from + (begin - from + piece - 1u) / piece * piece;
        began_here = part >= behind;
        begin = din_min(part, behind);
        if (begin >= end) return;
    }
    if (end < total) {
        const unsigned row = every ? keys[end - 1u] : pieces[p + 1u] - 1u;
        const unsigned last = begins[row] < begin ? begin : begins[row];
        end = din_min(begins[row + 1u], last + piece);
    }
    const DinPtr<float> gradient = table.at<float>(DIN_GRADIENT);
    const DinPtr<float> firsts = table.at<float>(DIN_FIRST_SUMS) + size_t(p) * width, lasts = table.at<float>(DIN_LAST_SUMS) + size_t(p) * width;
    const bool goes_on = end < total && keys[end] == keys[end - 1u];
    for (unsigned c = first_column; c < width; c += lanes) {
        // The row at hand, whether it began here, and its number among those that are listed.
        unsigned key = keys[begin], at = pieces[p];
        bool began = began_here;
        float sum = 0.0f;
        for (unsigned i = begin; i < end; i += DIN_ROUNDS) {
            unsigned of[DIN_ROUNDS];
            float more[DIN_ROUNDS];
#pragma unroll
            for (unsigned k = 0u; k < DIN_ROUNDS; ++k) {
                of[k] = i + k < end ? keys[i + k] : 0u;
                more[k] = 0.0f;
                if (i + k < end) {
                    unsigned element = places[i + k];
                    const unsigned f = table.feature(element);
                    const DinPtr<const float> from = table.of_feature<const float>(f, DIN_FEATURE_GRADIENT);
                    if (from) more[k] = from[size_t(element) * table.features[f * DIN_FEATURE_SCALARS + DIN_FEATURE_STRIDE] + c];
                }
            }
#pragma unroll
            for (unsigned k = 0u; k < DIN_ROUNDS; ++k) {
                if (i + k < end) {
                    if (of[k] != key) {
                        if (began) {
                            gradient[size_t(every ? key : at) * width + c] = sum;
                            at += 1u;
                        } else {
                            firsts[c] = sum;
                        }
                        key = of[k];
                        began = true;
                        sum = 0.0f;
                    }
                    sum += more[k];
                }
            }
        }
        if (!began) {
            firsts[c] = sum;
        } else if (goes_on) {
            lasts[c] = sum;
        } else {
            gradient[size_t(every ? key : at) * width + c] = sum;
        }
    }
}

// The row that begins in a piece and has several parts: they begin in consecutive pieces.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    unsigned block, first_column;
    const DinTable table = din_table_of(pointers, DIN_FIRST_SUM, block);
    const unsigned p = din_piece(table, block, first_column), piece = table.word(DIN_PIECE), total = table.word(DIN_TOTAL);
    const unsigned begin = p * piece, end = begin + piece;
    if (end >= total) return;
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(pointers, DIN_KEYS) + table.word(DIN_FIRST);
    const DinPtr<const unsigned> pieces = table.at<const unsigned>(DIN_PIECES);
    const unsigned key = keys[end - 1u];
    if (keys[end] != key || pieces[p + 1u] == pieces[p]) return;
    const unsigned row = table.word(DIN_EVERY) != 0u ? key : pieces[p + 1u] - 1u;
    const DinPtr<const unsigned> begins = table.at<const unsigned>(DIN_BEGINS);
    const unsigned last = p + (begins[row + 1u] - begins[row] - 1u) / piece;
    if (last == p) return;
    const unsigned width = table.word(DIN_WIDTH), lanes = table.word(DIN_LANES);
    const DinPtr<const float> firsts = table.at<const float>(DIN_FIRST_SUMS), lasts = table.at<const float>(DIN_LAST_SUMS);
    for (unsigned c = first_column; c < width; c += lanes) {
        float sum = lasts[size_t(p) * width + c];
#pragma unroll 8
        for (unsigned q = p + 1u; q <= last; ++q) sum += firsts[size_t(q) * width + c];
        table.at<float>(DIN_GRADIENT)[size_t(row) * width + c] = sum;
    }
}

// A warp a row that goes: its numbers leave the arrays for a packed row, columns over the lanes.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_out(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    const DinPtr<const unsigned> coming = din_pointer<const unsigned>(pointers, DIN_COMING);
    const DinPtr<unsigned> place = din_pointer<unsigned>(pointers, DIN_GOING);
    const DinPtr<float> going = din_pointer<float>(pointers, DIN_GOING);
    const unsigned rows = scalars[DIN_OUT], stride = scalars[DIN_STRIDE], arrays = scalars[DIN_ARRAY_COUNT], warps = DIN_THREADS / 32u;
    for (unsigned r = din_chunk() * warps + din_warp(); r < rows; r += din_chunks() * warps) {
        const unsigned row = coming[size_t(r) * stride];
        if (din_lane() == 0u) place[size_t(r) * stride] = row;
        unsigned before = 1u;
        for (unsigned a = 0u; a < arrays; ++a) {
            const unsigned width = scalars[DIN_ARRAY_WIDTHS + a];
            const DinPtr<const float> from = din_pointer<const float>(pointers, DIN_ARRAYS + a);
            for (unsigned c = din_lane(); c < width; c += 32u) going[size_t(r) * stride + before + c] = from[size_t(row) * width + c];
            before += width;
        }
    }
}

// A warp a row that comes: the reverse.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_in(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch) {
    const DinPtr<const unsigned> place = din_pointer<const unsigned>(pointers, DIN_COMING);
    const DinPtr<const float> coming = din_pointer<const float>(pointers, DIN_COMING);
    const unsigned rows = scalars[DIN_IN], stride = scalars[DIN_STRIDE], arrays = scalars[DIN_ARRAY_COUNT], warps = DIN_THREADS / 32u;
    for (unsigned r = din_chunk() * warps + din_warp(); r < rows; r += din_chunks() * warps) {
        const unsigned row = place[size_t(r) * stride];
        unsigned before = 1u;
        for (unsigned a = 0u; a < arrays; ++a) {
            const unsigned width = scalars[DIN_ARRAY_WIDTHS + a];
            const DinPtr<float> to = din_pointer<float>(pointers, DIN_ARRAYS + a);
            for (unsigned c = din_lane(); c < width; c += 32u) to[size_t(row) * width + c] = coming[size_t(r) * stride + before + c];
            before += width;
        }
    }
}
