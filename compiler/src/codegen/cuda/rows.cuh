// Row gradients of one table: the occurrences of all its features are sorted by row, stably and least digit first, distinct rows are
// listed, and each row's gradients are summed in the order of its occurrences: by feature, then by element. `RowsAddress` and `RowsWord` of
// din-program number what they are given; launches:
//
//     din_rows_keys; for each digit: din_rows_count, din_rows_scan, din_rows_scatter; then
//     din_rows_heads, din_rows_scan, din_rows_list (rows of the batch), or din_rows_every (all rows); din_rows_sum.
//
// Where a table has rows on the host too, din_rows_out and din_rows_in come before the step: the rows that it does not read make way for those
// that it does. Rows are still sorted by their numbers in the whole table, so that nothing depends on where they are.
//
// A digit's launches have the keys and places in turn in both pairs of buffers. count, scatter, heads and list share one grid that covers
// all occurrences, scan has one block.

enum {
    DIN_KEYS, DIN_PLACES, DIN_OTHER_KEYS, DIN_OTHER_PLACES, DIN_COUNTS, DIN_ROWS, DIN_BEGINS, DIN_GRADIENT, DIN_TOUCHED, DIN_TOUCHES,
    DIN_UPDATE, DIN_FEATURES
};
enum { DIN_COMING, DIN_GOING, DIN_ARRAYS };
enum { DIN_OUT, DIN_IN, DIN_STRIDE, DIN_ARRAY_COUNT, DIN_ARRAY_WIDTHS };
enum { DIN_TOTAL, DIN_WIDTH, DIN_TABLE_ROWS, DIN_ELEMENTS, DIN_SHIFT, DIN_COUNT, DIN_FEATURE_COUNT, DIN_FEATURE_WORDS };

// Values of a digit, and consecutive occurrences of a thread.
#define DIN_DIGITS 16u
#define DIN_ITEMS 8u

// The sum of the threads' numbers before this one; `total` becomes the sum of all. Needs a word a warp, which it leaves in use.
DIN_CALL unsigned din_scan(unsigned x, DinPtr<unsigned> sums, unsigned& total) {
    unsigned before = x;
    for (unsigned step = 1u; step < 32u; step *= 2u) {
        const unsigned other = din_shuffle_from(before, din_lane() >= step ? din_lane() - step : din_lane());
        if (din_lane() >= step) before += other;
    }
    if (din_lane() == 31u) sums[din_warp()] = before;
    din_barrier();
    unsigned warps = 0u;
    total = 0u;
    for (unsigned w = 0u; w < DIN_THREADS / 32u; ++w) {
        if (w < din_warp()) warps += sums[w];
        total += sums[w];
    }
    return warps + before - x;
}

// Keys are row numbers; the place of an occurrence counts through the features, one behind the other.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_keys(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<unsigned> keys = din_pointer<unsigned>(address, DIN_KEYS), places = din_pointer<unsigned>(address, DIN_PLACES);
    unsigned before = 0u;
    for (unsigned f = 0u; f < batch[DIN_FEATURE_COUNT]; ++f) {
        const unsigned elements = batch[DIN_FEATURE_WORDS + 2u * f];
        const DinPtr<const unsigned> rows = din_pointer<const unsigned>(address, DIN_FEATURES + 3u * f);
        for (unsigned e = din_chunk() * DIN_THREADS + din_thread(); e < elements; e += din_chunks() * DIN_THREADS) {
            keys[before + e] = rows[e];
            places[before + e] = before + e;
        }
        before += elements;
    }
}

// The thread's occurrences by digit: counts[digit * DIN_THREADS + thread].
DIN_CALL void din_digits(DinPtr<const unsigned> keys, DinPtr<unsigned> counts, unsigned first, unsigned total, unsigned shift) {
    for (unsigned d = 0u; d < DIN_DIGITS; ++d) counts[d * DIN_THREADS + din_thread()] = 0u;
    for (unsigned i = first; i < din_least(first + DIN_ITEMS, total); ++i) {
        const unsigned at = (keys[i] >> shift) % DIN_DIGITS * DIN_THREADS + din_thread();
        counts[at] = counts[at] + 1u;
    }
}

extern "C" DIN_KERNEL(DIN_THREADS) din_rows_count(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<unsigned> counts = din_shared_words(), all = din_pointer<unsigned>(address, DIN_COUNTS);
    const unsigned first = (din_chunk() * DIN_THREADS + din_thread()) * DIN_ITEMS;
    din_digits(din_pointer<const unsigned>(address, DIN_KEYS), counts, first, batch[DIN_TOTAL], batch[DIN_SHIFT]);
    din_barrier();
    for (unsigned d = din_warp(); d < DIN_DIGITS; d += DIN_THREADS / 32u) {
        unsigned sum = 0u;
        for (unsigned t = din_lane(); t < DIN_THREADS; t += 32u) sum += counts[d * DIN_THREADS + t];
        sum = din_warp_sum(sum);
        if (din_lane() == 0u) all[d * din_chunks() + din_chunk()] = sum;
    }
}

// Each of DIN_COUNT counts becomes the sum of those before; the sum of all stands behind them.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_scan(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<unsigned> counts = din_pointer<unsigned>(address, DIN_COUNTS);
    const unsigned count = batch[DIN_COUNT], share = (count + DIN_THREADS - 1u) / DIN_THREADS;
    const unsigned begin = din_least(din_thread() * share, count), end = din_least(begin + share, count);
    unsigned sum = 0u, total;
    for (unsigned i = begin; i < end; ++i) sum += counts[i];
    sum = din_scan(sum, din_shared_words(), total);
    for (unsigned i = begin; i < end; ++i) {
        const unsigned own = counts[i];
        counts[i] = sum;
        sum += own;
    }
    if (din_thread() == 0u) counts[count] = total;
}

// Occurrences move behind those with a smaller digit, of an earlier block, of an earlier thread, or earlier in the thread.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_scatter(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<unsigned> counts = din_shared_words();
    const DinPtr<const unsigned> all = din_pointer<const unsigned>(address, DIN_COUNTS);
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(address, DIN_KEYS), places = din_pointer<const unsigned>(address, DIN_PLACES);
    const DinPtr<unsigned> to_keys = din_pointer<unsigned>(address, DIN_OTHER_KEYS), to_places = din_pointer<unsigned>(address, DIN_OTHER_PLACES);
    const unsigned total = batch[DIN_TOTAL], shift = batch[DIN_SHIFT];
    const unsigned first = (din_chunk() * DIN_THREADS + din_thread()) * DIN_ITEMS;
    din_digits(keys, counts, first, total, shift);
    for (unsigned d = 0u; d < DIN_DIGITS; ++d) {
        unsigned sum;
        const unsigned at = d * DIN_THREADS + din_thread();
        const unsigned before = din_scan(counts[at], counts + DIN_DIGITS * DIN_THREADS, sum);
        counts[at] = all[d * din_chunks() + din_chunk()] + before;
        din_barrier();
    }
    for (unsigned i = first; i < din_least(first + DIN_ITEMS, total); ++i) {
        const unsigned key = keys[i], at = (key >> shift) % DIN_DIGITS * DIN_THREADS + din_thread();
        const unsigned to = counts[at];
        counts[at] = to + 1u;
        to_keys[to] = key;
        to_places[to] = places[i];
    }
}

// Whether a row's occurrences begin at one.
DIN_CALL bool din_head(DinPtr<const unsigned> keys, unsigned i) { return i == 0u || keys[i] != keys[i - 1u]; }

DIN_CALL unsigned din_heads(DinPtr<const unsigned> keys, unsigned first, unsigned total) {
    unsigned heads = 0u;
    for (unsigned i = first; i < din_least(first + DIN_ITEMS, total); ++i) heads += din_head(keys, i) ? 1u : 0u;
    return heads;
}

extern "C" DIN_KERNEL(DIN_THREADS) din_rows_heads(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const unsigned first = (din_chunk() * DIN_THREADS + din_thread()) * DIN_ITEMS;
    unsigned total;
    din_scan(din_heads(din_pointer<const unsigned>(address, DIN_KEYS), first, batch[DIN_TOTAL]), din_shared_words(), total);
    if (din_thread() == 0u) din_pointer<unsigned>(address, DIN_COUNTS)[din_chunk()] = total;
}

// The feature of an occurrence, which becomes the number of the feature's element.
DIN_CALL unsigned din_feature(DinWords batch, unsigned& element) {
    unsigned f = 0u;
    while (f + 1u < batch[DIN_FEATURE_COUNT] && element >= batch[DIN_FEATURE_WORDS + 2u * f]) {
        element -= batch[DIN_FEATURE_WORDS + 2u * f];
        ++f;
    }
    return f;
}

// Where the row of an occurrence is in the table's arrays.
DIN_CALL unsigned din_row_at(DinAddresses address, DinWords batch, unsigned row, unsigned element) {
    const unsigned f = din_feature(batch, element);
    const DinPtr<const unsigned> at = din_pointer<const unsigned>(address, DIN_FEATURES + 3u * f + 2u);
    return at ? at[element] : row;
}

extern "C" DIN_KERNEL(DIN_THREADS) din_rows_list(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(address, DIN_KEYS), counts = din_pointer<const unsigned>(address, DIN_COUNTS);
    const DinPtr<const unsigned> places = din_pointer<const unsigned>(address, DIN_PLACES);
    const DinPtr<unsigned> rows = din_pointer<unsigned>(address, DIN_ROWS), begins = din_pointer<unsigned>(address, DIN_BEGINS);
    const unsigned total = batch[DIN_TOTAL], first = (din_chunk() * DIN_THREADS + din_thread()) * DIN_ITEMS;
    unsigned heads;
    unsigned at = counts[din_chunk()] + din_scan(din_heads(keys, first, total), din_shared_words(), heads);
    for (unsigned i = first; i < din_least(first + DIN_ITEMS, total); ++i) {
        if (din_head(keys, i)) {
            rows[at] = din_row_at(address, batch, keys[i], places[i]);
            begins[at] = i;
            ++at;
        }
    }
    if (din_chunk() == 0u && din_thread() == 0u) {
        const unsigned distinct = counts[din_chunks()];
        begins[distinct] = total;
        din_pointer<unsigned>(address, DIN_UPDATE)[batch[DIN_ELEMENTS]] = distinct;
    }
}

extern "C" DIN_KERNEL(DIN_THREADS) din_rows_every(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<const unsigned> keys = din_pointer<const unsigned>(address, DIN_KEYS);
    const DinPtr<unsigned> rows = din_pointer<unsigned>(address, DIN_ROWS), begins = din_pointer<unsigned>(address, DIN_BEGINS);
    const DinPtr<float> touched = din_pointer<float>(address, DIN_TOUCHED);
    const unsigned total = batch[DIN_TOTAL], all = batch[DIN_TABLE_ROWS];
    for (unsigned r = din_chunk() * DIN_THREADS + din_thread(); r < all; r += din_chunks() * DIN_THREADS) {
        unsigned low = 0u, high = total;
        while (low < high) {
            const unsigned middle = low + (high - low) / 2u;
            if (keys[middle] < r) {
                low = middle + 1u;
            } else {
                high = middle;
            }
        }
        rows[r] = r;
        begins[r] = low;
        touched[r] = low < total && keys[low] == r ? 1.0f : 0.0f;
    }
    if (din_chunk() == 0u && din_thread() == 0u) {
        begins[all] = total;
        din_pointer<unsigned>(address, DIN_UPDATE)[batch[DIN_ELEMENTS]] = all;
    }
}

// A warp a row, columns over its lanes.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_sum(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<const unsigned> places = din_pointer<const unsigned>(address, DIN_PLACES), rows = din_pointer<const unsigned>(address, DIN_ROWS);
    const DinPtr<const unsigned> begins = din_pointer<const unsigned>(address, DIN_BEGINS);
    const DinPtr<float> gradient = din_pointer<float>(address, DIN_GRADIENT), touches = din_pointer<float>(address, DIN_TOUCHES);
    const unsigned width = batch[DIN_WIDTH];
    const unsigned count = din_pointer<const unsigned>(address, DIN_UPDATE)[batch[DIN_ELEMENTS]];
    const unsigned warps = DIN_THREADS / 32u;
    for (unsigned r = din_chunk() * warps + din_warp(); r < count; r += din_chunks() * warps) {
        const unsigned begin = begins[r], end = begins[r + 1u];
        for (unsigned c = din_lane(); c < width; c += 32u) {
            float sum = 0.0f;
            for (unsigned i = begin; i < end; ++i) {
                unsigned element = places[i];
                const unsigned f = din_feature(batch, element);
                const DinPtr<const float> of = din_pointer<const float>(address, DIN_FEATURES + 3u * f + 1u);
                if (of) sum += of[size_t(element) * batch[DIN_FEATURE_WORDS + 2u * f + 1u] + c];
            }
            gradient[size_t(r) * width + c] = sum;
        }
        if (touches && din_lane() == 0u && begin < end) touches[rows[r]] = touches[rows[r]] + 1.0f;
    }
}

// A warp a row that goes: its numbers leave the arrays for a packed row, columns over the lanes.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_out(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<const unsigned> coming = din_pointer<const unsigned>(address, DIN_COMING);
    const DinPtr<unsigned> place = din_pointer<unsigned>(address, DIN_GOING);
    const DinPtr<float> going = din_pointer<float>(address, DIN_GOING);
    const unsigned rows = batch[DIN_OUT], stride = batch[DIN_STRIDE], arrays = batch[DIN_ARRAY_COUNT], warps = DIN_THREADS / 32u;
    for (unsigned r = din_chunk() * warps + din_warp(); r < rows; r += din_chunks() * warps) {
        const unsigned row = coming[size_t(r) * stride];
        if (din_lane() == 0u) place[size_t(r) * stride] = row;
        unsigned before = 1u;
        for (unsigned a = 0u; a < arrays; ++a) {
            const unsigned width = batch[DIN_ARRAY_WIDTHS + a];
            const DinPtr<const float> from = din_pointer<const float>(address, DIN_ARRAYS + a);
            for (unsigned c = din_lane(); c < width; c += 32u) going[size_t(r) * stride + before + c] = from[size_t(row) * width + c];
            before += width;
        }
    }
}

// A warp a row that comes: the reverse.
extern "C" DIN_KERNEL(DIN_THREADS) din_rows_in(DinAddresses address, DinWords batch, DinPtr<float> scratch) {
    const DinPtr<const unsigned> place = din_pointer<const unsigned>(address, DIN_COMING);
    const DinPtr<const float> coming = din_pointer<const float>(address, DIN_COMING);
    const unsigned rows = batch[DIN_IN], stride = batch[DIN_STRIDE], arrays = batch[DIN_ARRAY_COUNT], warps = DIN_THREADS / 32u;
    for (unsigned r = din_chunk() * warps + din_warp(); r < rows; r += din_chunks() * warps) {
        const unsigned row = place[size_t(r) * stride];
        unsigned before = 1u;
        for (unsigned a = 0u; a < arrays; ++a) {
            const unsigned width = batch[DIN_ARRAY_WIDTHS + a];
            const DinPtr<float> to = din_pointer<float>(address, DIN_ARRAYS + a);
            for (unsigned c = din_lane(); c < width; c += 32u) to[size_t(row) * width + c] = coming[size_t(r) * stride + before + c];
            before += width;
        }
    }
}
