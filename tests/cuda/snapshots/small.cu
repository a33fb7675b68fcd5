// Phase 0, one element.
extern "C" DIN_KERNEL(256) din_train_0(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 19u;
    scalars += din_instance() * 3u;
    const DinPtr<float> total1 = din_pointer<float>(pointers, 0u);
    const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
    const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
    // small.din:14:14: train.0.copy
    if (din_thread() == 0u) {
        const double v1 = 1.0;
        const double v2 = double(float(total1[0]));
        const double v3 = v1 / v2;
        const double v4 = -v3;
        b0[0] = float(v3);
        b1[0] = float(v4);
    }
}

// Phase 1, tiles of 64 entries of axis 2, 32 samples at most.
DIN_TILE void din_train_1_tile(DinPointers pointers, DinScalars scalars, unsigned first1, unsigned count1, unsigned first2, unsigned count2)
{
    const DinPtr<const unsigned> ends2 = din_pointer<const unsigned>(pointers, 4u) + first1;
    const DinPtr<float> b3 = din_pointer<float>(pointers, 5u) + size_t(first1) * 5u;
    const DinPtr<float> table0 = din_pointer<float>(pointers, 6u);
    const DinPtr<const unsigned> rows0_1 = din_pointer<const unsigned>(pointers, 7u) + first2;
    const DinPtr<const unsigned> sample2 = din_pointer<const unsigned>(pointers, 8u) + first2;
    // std.pooling:11:5: fill with 0
    din_fill_rows<5, 5>(count1, b3, 0.0f);
    // std.pooling:11:5: train.1.gather_sum
    din_barrier();
    const unsigned t8 = din_thread();
    if (t8 < 255u) {
        const unsigned c1 = t8 % 5u, g2 = t8 / 5u;
        for (unsigned s4 = g2; s4 < count1; s4 += 51u) {
            float sum5 = 0.0f;
            for (unsigned r3 = ends2[s4] - first2, stop = ends2[s4 + 1u] - first2; r3 < stop; ++r3) {
                const unsigned i6 = rows0_1[r3];
                const float v7 = table0[size_t(i6) * 5u + c1];
                sum5 = sum5 + v7;
            }
            b3[s4 * 5u + c1] = float(b3[s4 * 5u + c1]) + sum5;
        }
    }
}

extern "C" DIN_KERNEL(256) din_train_1(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 19u;
    scalars += din_instance() * 3u;
    const unsigned tiles = scalars[0];
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<const unsigned> bounds = din_pointer<const unsigned>(pointers, 3u);
    const DinPtr<const unsigned> offsets = din_pointer<const unsigned>(pointers, 4u);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = bounds[tile];
        const unsigned count1 = bounds[tile + 1] - first1;
        const unsigned first2 = offsets[first1];
        const unsigned count2 = offsets[first1 + count1] - first2;
        din_train_1_tile(pointers, scalars, first1, count1, first2, count2);
    }
}

// Phase 2, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_train_2(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 19u;
    scalars += din_instance() * 3u;
    const unsigned elements = scalars[2];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 9u) + size_t(din_chunk()) * 4u;
    din_fill<1>(copy + 0u, 0.0f);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const DinPtr<float> length2 = din_pointer<float>(pointers, 10u) + first1;
        const DinPtr<float> tile4 = din_shared() + 0u;
        const DinPtr<float> b3 = din_pointer<float>(pointers, 5u) + size_t(first1) * 5u;
        const DinPtr<float> table0 = din_pointer<float>(pointers, 6u);
        const DinPtr<const unsigned> rows0_0 = din_pointer<const unsigned>(pointers, 11u) + first1;
        const DinPtr<float> b5 = din_pointer<float>(pointers, 12u) + first1;
        const DinPtr<float> label0 = din_pointer<float>(pointers, 13u) + first1;
        const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
        const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
        const DinPtr<float> partial12 = copy + 0u;
        const DinPtr<float> tile7 = din_shared() + 16u;
        const DinPtr<float> sums37 = din_shared() + 32u;
        const DinPtr<float> b8 = din_pointer<float>(pointers, 14u) + size_t(first1) * 5u;
        const DinPtr<float> b9 = din_pointer<float>(pointers, 15u) + size_t(first1) * 5u;
        // std.pooling:11:5: train.2.copy
        const unsigned t8 = din_thread();
        {
            const unsigned g2 = t8;
            const float v3 = 1.0f;
            for (unsigned r4 = g2; r4 < count1; r4 += 256u) {
                const float v5 = length2[r4];
                const float v6 = v3 < v5 ? v5 : v3;
                const float v7 = v3 / v6;
                tile4[r4] = v7;
            }
        }
        // std.pooling:11:5: train.3.multiply_gather
        din_barrier();
        for (unsigned r9 = din_warp(); r9 < count1; r9 += 8u) {
            float sum11 = 0.0f;
            for (unsigned c10 = din_lane(); c10 < 5u; c10 += 32u) {
                const float v12 = b3[r9 * 5u + c10];
                const float v13 = tile4[r9];
                const float v14 = v12 * v13;
                const unsigned i15 = rows0_0[r9];
                const float v16 = table0[size_t(i15) * 5u + c10];
                const float v17 = v16 * v14;
                sum11 = sum11 + v17;
            }
            const float total18 = din_warp_sum(sum11);
            if (din_lane() == 0u) {
                b5[r9] = total18;
            }
        }
        // std.loss:8:5: train.4.softplus_multiply_sigmoid_sum
        din_barrier();
        const unsigned t36 = din_thread();
        if (t36 < 16u) {
            const unsigned g20 = t36;
            const float v21 = b0[0];
            const float v22 = b1[0];
            float total23 = 0.0f;
            for (unsigned r24 = g20; r24 < count1; r24 += 16u) {
                const float v25 = b5[r24];
                const float v26 = din_softplus(v25);
                const float v27 = label0[r24];
                const float v28 = v27 * v25;
                const float v29 = v26 - v28;
                const float v30 = din_sigmoid(v25);
                const float v31 = v21 * v30;
                const float v32 = v22 * v27;
                const float v33 = v32 + v31;
                const float v34 = tile4[r24];
                const float v35 = v34 * v33;
                total23 = total23 + v29;
                tile7[r24] = v35;
            }
            sums37[t36] = total23;
        }
        din_barrier();
        din_join_groups<1, 16, DinAdd>(sums37 + 0u, partial12 + 0u);
        // small.din:13:35: train.5.multiply_gather
        const unsigned t47 = din_thread();
        if (t47 < 255u) {
            const unsigned c38 = t47 % 5u, g39 = t47 / 5u;
            for (unsigned r40 = g39; r40 < count1; r40 += 51u) {
                const float v41 = b3[r40 * 5u + c38];
                const float v42 = tile7[r40];
                const float v43 = v41 * v42;
                const unsigned i44 = rows0_0[r40];
                const float v45 = table0[size_t(i44) * 5u + c38];
                const float v46 = v45 * v42;
                b8[r40 * 5u + c38] = v43;
                b9[r40 * 5u + c38] = v46;
            }
        }
    }
}

// Phase 2: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_2_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 19u;
    scalars += din_instance() * 3u;
    const unsigned chunks = din_min((scalars[2] + 15u) / 16u, 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 9u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b6 = din_pointer<float>(pointers, 16u);
    din_join_copies<1, 4, 0>(chunks, copies + 0u, sums, b6);
}

// Phase 3, one element.
extern "C" DIN_KERNEL(256) din_train_3(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 19u;
    scalars += din_instance() * 3u;
    const DinPtr<float> b6 = din_pointer<float>(pointers, 16u);
    const DinPtr<float> total1 = din_pointer<float>(pointers, 0u);
    const DinPtr<float> b13 = din_pointer<float>(pointers, 17u);
    // small.din:14:14: train.6.copy
    if (din_thread() == 0u) {
        const double v1 = double(float(b6[0]));
        const double v2 = double(float(total1[0]));
        const double v3 = v1 / v2;
        b13[0] = float(v3);
    }
}

// Phase 4, tiles of 64 entries of axis 2, 32 samples at most.
DIN_TILE void din_train_4_tile(DinPointers pointers, DinScalars scalars, unsigned first1, unsigned count1, unsigned first2, unsigned count2)
{
    const DinPtr<float> b9 = din_pointer<float>(pointers, 15u) + size_t(first1) * 5u;
    const DinPtr<const unsigned> sample2 = din_pointer<const unsigned>(pointers, 8u) + first2;
    const DinPtr<float> b14 = din_pointer<float>(pointers, 18u) + size_t(first2) * 5u;
    // std.pooling:11:5: train.7.gather
    const unsigned t6 = din_thread();
    if (t6 < 255u) {
        const unsigned c1 = t6 % 5u, g2 = t6 / 5u;
        for (unsigned r3 = g2; r3 < count2; r3 += 51u) {
            const unsigned i4 = sample2[r3] - first1;
            const float v5 = b9[i4 * 5u + c1];
            b14[r3 * 5u + c1] = v5;
        }
    }
}

extern "C" DIN_KERNEL(256) din_train_4(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 19u;
    scalars += din_instance() * 3u;
    const unsigned tiles = scalars[0];
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<const unsigned> bounds = din_pointer<const unsigned>(pointers, 3u);
    const DinPtr<const unsigned> offsets = din_pointer<const unsigned>(pointers, 4u);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = bounds[tile];
        const unsigned count1 = bounds[tile + 1] - first1;
        const unsigned first2 = offsets[first1];
        const unsigned count2 = offsets[first1 + count1] - first2;
        din_train_4_tile(pointers, scalars, first1, count1, first2, count2);
    }
}

// Phase 0, tiles of 64 entries of axis 2, 32 samples at most.
DIN_TILE void din_infer_0_tile(DinPointers pointers, DinScalars scalars, unsigned first1, unsigned count1, unsigned first2, unsigned count2)
{
    const DinPtr<const unsigned> ends2 = din_pointer<const unsigned>(pointers, 1u) + first1;
    const DinPtr<float> b0 = din_pointer<float>(pointers, 2u) + size_t(first1) * 5u;
    const DinPtr<float> table0 = din_pointer<float>(pointers, 3u);
    const DinPtr<const unsigned> rows0_1 = din_pointer<const unsigned>(pointers, 4u) + first2;
    const DinPtr<const unsigned> sample2 = din_pointer<const unsigned>(pointers, 5u) + first2;
    // std.pooling:11:5: fill with 0
    din_fill_rows<5, 5>(count1, b0, 0.0f);
    // std.pooling:11:5: train.1.gather_sum
    din_barrier();
    const unsigned t8 = din_thread();
    if (t8 < 255u) {
        const unsigned c1 = t8 % 5u, g2 = t8 / 5u;
        for (unsigned s4 = g2; s4 < count1; s4 += 51u) {
            float sum5 = 0.0f;
            for (unsigned r3 = ends2[s4] - first2, stop = ends2[s4 + 1u] - first2; r3 < stop; ++r3) {
                const unsigned i6 = rows0_1[r3];
                const float v7 = table0[size_t(i6) * 5u + c1];
                sum5 = sum5 + v7;
            }
            b0[s4 * 5u + c1] = float(b0[s4 * 5u + c1]) + sum5;
        }
    }
}

extern "C" DIN_KERNEL(256) din_infer_0(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 14u;
    scalars += din_instance() * 3u;
    const unsigned tiles = scalars[0];
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<const unsigned> bounds = din_pointer<const unsigned>(pointers, 0u);
    const DinPtr<const unsigned> offsets = din_pointer<const unsigned>(pointers, 1u);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = bounds[tile];
        const unsigned count1 = bounds[tile + 1] - first1;
        const unsigned first2 = offsets[first1];
        const unsigned count2 = offsets[first1 + count1] - first2;
        din_infer_0_tile(pointers, scalars, first1, count1, first2, count2);
    }
}

// Phase 1, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_infer_1(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 14u;
    scalars += din_instance() * 3u;
    const unsigned elements = scalars[2];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 6u) + size_t(din_chunk()) * 4u;
    din_fill<1>(copy + 0u, 0.0f);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const DinPtr<float> length2 = din_pointer<float>(pointers, 7u) + first1;
        const DinPtr<float> tile1 = din_shared() + 0u;
        const DinPtr<float> b0 = din_pointer<float>(pointers, 2u) + size_t(first1) * 5u;
        const DinPtr<float> table0 = din_pointer<float>(pointers, 3u);
        const DinPtr<const unsigned> rows0_0 = din_pointer<const unsigned>(pointers, 8u) + first1;
        const DinPtr<float> b2 = din_pointer<float>(pointers, 9u) + first1;
        const DinPtr<float> label0 = din_pointer<float>(pointers, 10u) + first1;
        const DinPtr<float> partial6 = copy + 0u;
        const DinPtr<float> sums29 = din_shared() + 16u;
        // std.pooling:11:5: train.2.copy
        const unsigned t8 = din_thread();
        {
            const unsigned g2 = t8;
            const float v3 = 1.0f;
            for (unsigned r4 = g2; r4 < count1; r4 += 256u) {
                const float v5 = length2[r4];
                const float v6 = v3 < v5 ? v5 : v3;
                const float v7 = v3 / v6;
                tile1[r4] = v7;
            }
        }
        // std.pooling:11:5: train.3.multiply_gather
        din_barrier();
        for (unsigned r9 = din_warp(); r9 < count1; r9 += 8u) {
            float sum11 = 0.0f;
            for (unsigned c10 = din_lane(); c10 < 5u; c10 += 32u) {
                const float v12 = b0[r9 * 5u + c10];
                const float v13 = tile1[r9];
                const float v14 = v12 * v13;
                const unsigned i15 = rows0_0[r9];
                const float v16 = table0[size_t(i15) * 5u + c10];
                const float v17 = v16 * v14;
                sum11 = sum11 + v17;
            }
            const float total18 = din_warp_sum(sum11);
            if (din_lane() == 0u) {
                b2[r9] = total18;
            }
        }
        // std.loss:8:5: infer.8.softplus_multiply_sum
        din_barrier();
        const unsigned t28 = din_thread();
        if (t28 < 16u) {
            const unsigned g20 = t28;
            float total21 = 0.0f;
            for (unsigned r22 = g20; r22 < count1; r22 += 16u) {
                const float v23 = b2[r22];
                const float v24 = din_softplus(v23);
                const float v25 = label0[r22];
                const float v26 = v25 * v23;
                const float v27 = v24 - v26;
                total21 = total21 + v27;
            }
            sums29[t28] = total21;
        }
        din_barrier();
        din_join_groups<1, 16, DinAdd>(sums29 + 0u, partial6 + 0u);
    }
}

// Phase 1: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_infer_1_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 14u;
    scalars += din_instance() * 3u;
    const unsigned chunks = din_min((scalars[2] + 15u) / 16u, 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 6u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b3 = din_pointer<float>(pointers, 11u);
    din_join_copies<1, 4, 0>(chunks, copies + 0u, sums, b3);
}

// Phase 2, one element.
extern "C" DIN_KERNEL(256) din_infer_2(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 14u;
    scalars += din_instance() * 3u;
    const DinPtr<float> b3 = din_pointer<float>(pointers, 11u);
    const DinPtr<float> total1 = din_pointer<float>(pointers, 12u);
    const DinPtr<float> b7 = din_pointer<float>(pointers, 13u);
    // small.din:14:14: train.6.copy
    if (din_thread() == 0u) {
        const double v1 = double(float(b3[0]));
        const double v2 = double(float(total1[0]));
        const double v3 = v1 / v2;
        b7[0] = float(v3);
    }
}

// Phase 0, tiles of 64 samples.
extern "C" DIN_KERNEL(256) din_update0_0(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 3u;
    scalars += din_instance() * 1u;
    const unsigned elements = scalars[0];
    const unsigned tiles = (elements + 63u) / 64u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 64u;
        const unsigned count1 = din_min(elements - first1, 64u);
        const DinPtr<float> gradient = din_pointer<float>(pointers, 0u) + size_t(first1) * 5u;
        const DinPtr<float> weight = din_pointer<float>(pointers, 1u);
        const DinPtr<const unsigned> row_index = din_pointer<const unsigned>(pointers, 2u) + first1;
        // std.optimizer:9:23: sgd.9.multiply_gather
        const unsigned t10 = din_thread();
        if (t10 < 255u) {
            const unsigned c1 = t10 % 5u, g2 = t10 / 5u;
            const float v3 = 0.1f;
            for (unsigned r4 = g2; r4 < count1; r4 += 51u) {
                const float v5 = gradient[r4 * 5u + c1];
                const float v6 = v5 * v3;
                const unsigned i7 = row_index[r4];
                const float v8 = weight[size_t(i7) * 5u + c1];
                const float v9 = v8 - v6;
                weight[size_t(i7) * 5u + c1] = v9;
            }
        }
    }
}

