// Phase 0, one element.
extern "C" DIN_KERNEL(256) din_train_0(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const DinPtr<float> total1 = din_pointer<float>(pointers, 0u);
    const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
    const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
    const DinPtr<float> param2 = din_pointer<float>(pointers, 3u);
    const DinPtr<float> b25 = din_pointer<float>(pointers, 4u);
    // common.din:18:14: train.0.copy
    if (din_thread() == 0u) {
        const double v1 = 1.0;
        const double v2 = double(float(total1[0]));
        const double v3 = v1 / v2;
        const double v4 = -v3;
        b0[0] = float(v3);
        b1[0] = float(v4);
    }
    // std.layer:8:5: transposed weight, 3 x 2
    din_transpose<3, 2, 2>(param2, b25);
}

// Phase 1, tiles of 16 requests at most.
extern "C" DIN_KERNEL(256) din_train_1(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[0];
    const unsigned each = din_adaptive_tile(elements, 256u, 16u);
    const unsigned tiles = din_tiles(elements, each);
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first3 = tile * each;
        const unsigned count3 = din_min(elements - first3, each);
        const DinPtr<float> table1 = din_pointer<float>(pointers, 5u);
        const DinPtr<const unsigned> rows1_0 = din_pointer<const unsigned>(pointers, 6u) + first3;
        const DinPtr<float> tile3 = din_shared() + 0u;
        const DinPtr<float> param2 = din_pointer<float>(pointers, 3u);
        const DinPtr<float> tile4 = din_shared() + 48u;
        const DinPtr<float> param3 = din_pointer<float>(pointers, 7u);
        const DinPtr<float> b5 = din_pointer<float>(pointers, 8u) + first3;
        // common.din:17:70: train.1.gather
        const unsigned t6 = din_thread();
        if (t6 < 255u) {
            const unsigned c1 = t6 % 3u, g2 = t6 / 3u;
            for (unsigned r3 = g2; r3 < count3; r3 += 85u) {
                const unsigned i4 = rows1_0[r3];
                const float v5 = table1[size_t(i4) * 3u + c1];
                tile3[r3 * 3u + c1] = v5;
            }
        }
        // std.layer:8:5: product by 3 x 2
        din_barrier();
        din_product<3, 2, 1, 1>(count3, DinRows<3, 1>{tile3}, DinMatrix<2, 1>{param2}, DinStore<2, 1>{tile4});
        // std.layer:8:5: train.2.copy
        din_barrier();
        for (unsigned r7 = din_warp(); r7 < count3; r7 += 8u) {
            float sum9 = 0.0f;
            for (unsigned c8 = din_lane(); c8 < 2u; c8 += 32u) {
                const float v10 = tile4[r7 * 2u + c8];
                const float v11 = param3[c8];
                const float v12 = v10 + v11;
                sum9 = sum9 + v12;
            }
            const float total13 = din_warp_sum(sum9);
            if (din_lane() == 0u) {
                b5[r7] = total13;
            }
        }
    }
}

// Phase 2, tiles of 64 entries of axis 4 at most.
extern "C" DIN_KERNEL(256) din_train_2(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[1];
    const unsigned each = din_adaptive_tile(elements, 256u, 64u);
    const unsigned tiles = din_tiles(elements, each);
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first4 = tile * each;
        const unsigned count4 = din_min(elements - first4, each);
        const DinPtr<float> table0 = din_pointer<float>(pointers, 9u);
        const DinPtr<const unsigned> rows0_2 = din_pointer<const unsigned>(pointers, 10u) + first4;
        const DinPtr<float> tile8 = din_shared() + 0u;
        const DinPtr<float> param0 = din_pointer<float>(pointers, 11u);
        const DinPtr<float> b9 = din_pointer<float>(pointers, 12u) + first4;
        // common.din:15:36: train.3.gather
        const unsigned t6 = din_thread();
        if (t6 < 255u) {
            const unsigned c1 = t6 % 5u, g2 = t6 / 5u;
            for (unsigned r3 = g2; r3 < count4; r3 += 51u) {
                const unsigned i4 = rows0_2[r3];
                const float v5 = table0[size_t(i4) * 5u + c1];
                tile8[r3 * 5u + c1] = v5;
            }
        }
        // std.layer:8:5: product by 5 x 1
        din_barrier();
        din_product<5, 1, 1, 1>(count4, DinRows<5, 1>{tile8}, DinMatrix<1, 1>{param0}, DinStore<1, 1>{b9});
        din_barrier();
    }
}

// Phase 3, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_train_3(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[2];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const DinPtr<float> table0 = din_pointer<float>(pointers, 9u);
        const DinPtr<const unsigned> rows0_1 = din_pointer<const unsigned>(pointers, 13u) + first1;
        const DinPtr<float> tile11 = din_shared() + 0u;
        const DinPtr<float> param0 = din_pointer<float>(pointers, 11u);
        const DinPtr<float> tile12 = din_shared() + 80u;
        const DinPtr<float> param1 = din_pointer<float>(pointers, 14u);
        const DinPtr<float> b13 = din_pointer<float>(pointers, 15u) + first1;
        // common.din:15:51: train.4.gather
        const unsigned t6 = din_thread();
        if (t6 < 255u) {
            const unsigned c1 = t6 % 5u, g2 = t6 / 5u;
            for (unsigned r3 = g2; r3 < count1; r3 += 51u) {
                const unsigned i4 = rows0_1[r3];
                const float v5 = table0[size_t(i4) * 5u + c1];
                tile11[r3 * 5u + c1] = v5;
            }
        }
        // std.layer:8:5: product by 5 x 1
        din_barrier();
        din_product<5, 1, 1, 1>(count1, DinRows<5, 1>{tile11}, DinMatrix<1, 1>{param0 + 5u}, DinStore<1, 1>{tile12});
        // std.layer:8:5: train.5.copy
        din_barrier();
        const unsigned t13 = din_thread();
        {
            const unsigned g8 = t13;
            const float v9 = param1[0];
            for (unsigned r10 = g8; r10 < count1; r10 += 256u) {
                const float v11 = tile12[r10];
                const float v12 = v11 + v9;
                b13[r10] = v12;
            }
        }
    }
}

// Phase 4, tiles of 64 entries of axis 2, 32 samples at most.
DIN_TILE void din_train_4_tile(DinPointers pointers, DinScalars scalars, unsigned first1, unsigned count1, unsigned first2, unsigned count2)
{
    const DinPtr<const unsigned> ends2 = din_pointer<const unsigned>(pointers, 17u) + first1;
    const DinPtr<float> b9 = din_pointer<float>(pointers, 12u);
    const DinPtr<const unsigned> sample2 = din_pointer<const unsigned>(pointers, 18u) + first2;
    const DinPtr<const unsigned> request1 = din_pointer<const unsigned>(pointers, 19u) + first1;
    const DinPtr<const unsigned> begin4 = din_pointer<const unsigned>(pointers, 20u);
    const DinPtr<float> b13 = din_pointer<float>(pointers, 15u) + first1;
    const DinPtr<float> b15 = din_pointer<float>(pointers, 21u) + first2;
    const DinPtr<float> b16 = din_pointer<float>(pointers, 22u) + size_t(first1) * 5u;
    const DinPtr<float> table0 = din_pointer<float>(pointers, 9u);
    const DinPtr<const unsigned> rows0_2 = din_pointer<const unsigned>(pointers, 10u);
    // std.layer:8:5: train.6.gather_sigmoid
    const unsigned t12 = din_thread();
    {
        const unsigned g2 = t12;
        for (unsigned r3 = g2; r3 < count2; r3 += 256u) {
            const unsigned i4 = sample2[r3] - first1;
            const unsigned i5 = request1[i4];
            const unsigned f6 = begin4[i5];
            const unsigned i7 = f6 + (r3 - (ends2[i4] - first2));
            const float v8 = b9[i7];
            const float v9 = b13[i4];
            const float v10 = v8 + v9;
            const float v11 = din_sigmoid(v10);
            b15[r3] = v11;
        }
    }
    // common.din:16:17: fill with 0
    din_fill_rows<5, 5>(count1, b16, 0.0f);
    // common.din:16:17: train.7.gather_multiply_sum
    din_barrier();
    const unsigned t25 = din_thread();
    if (t25 < 255u) {
        const unsigned c13 = t25 % 5u, g14 = t25 / 5u;
        for (unsigned s16 = g14; s16 < count1; s16 += 51u) {
            float sum17 = 0.0f;
            for (unsigned r15 = ends2[s16] - first2, stop = ends2[s16 + 1u] - first2; r15 < stop; ++r15) {
                const float v18 = b15[r15];
                const unsigned i19 = request1[s16];
                const unsigned f20 = begin4[i19];
                const unsigned i21 = f20 + (r15 - (ends2[s16] - first2));
                const unsigned i22 = rows0_2[i21];
                const float v23 = table0[size_t(i22) * 5u + c13];
                const float v24 = v18 * v23;
                sum17 = sum17 + v24;
            }
            b16[s16 * 5u + c13] = float(b16[s16 * 5u + c13]) + sum17;
        }
    }
}

extern "C" DIN_KERNEL(256) din_train_4(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned tiles = scalars[3];
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<const unsigned> bounds = din_pointer<const unsigned>(pointers, 16u);
    const DinPtr<const unsigned> offsets = din_pointer<const unsigned>(pointers, 17u);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = bounds[tile];
        const unsigned count1 = bounds[tile + 1] - first1;
        const unsigned first2 = offsets[first1];
        const unsigned count2 = offsets[first1 + count1] - first2;
        din_train_4_tile(pointers, scalars, first1, count1, first2, count2);
    }
}

// Phase 5, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_train_5(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[2];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 23u) + size_t(din_chunk()) * 4u;
    din_fill<1>(copy + 0u, 0.0f);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const DinPtr<float> table0 = din_pointer<float>(pointers, 9u);
        const DinPtr<const unsigned> rows0_1 = din_pointer<const unsigned>(pointers, 13u) + first1;
        const DinPtr<float> b16 = din_pointer<float>(pointers, 22u) + size_t(first1) * 5u;
        const DinPtr<float> tile17 = din_shared() + 0u;
        const DinPtr<float> b5 = din_pointer<float>(pointers, 8u);
        const DinPtr<const unsigned> request1 = din_pointer<const unsigned>(pointers, 19u) + first1;
        const DinPtr<float> label0 = din_pointer<float>(pointers, 24u) + first1;
        const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
        const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
        const DinPtr<float> b18 = din_pointer<float>(pointers, 25u) + first1;
        const DinPtr<float> partial23 = copy + 0u;
        const DinPtr<float> b20 = din_pointer<float>(pointers, 26u) + first1;
        const DinPtr<float> sums28 = din_shared() + 16u;
        const DinPtr<float> b21 = din_pointer<float>(pointers, 27u) + size_t(first1) * 5u;
        // common.din:17:35: train.8.gather_multiply
        for (unsigned r1 = din_warp(); r1 < count1; r1 += 8u) {
            float sum3 = 0.0f;
            for (unsigned c2 = din_lane(); c2 < 5u; c2 += 32u) {
                const unsigned i4 = rows0_1[r1];
                const float v5 = table0[size_t(i4) * 5u + c2];
                const float v6 = b16[r1 * 5u + c2];
                const float v7 = v5 * v6;
                sum3 = sum3 + v7;
            }
            const float total8 = din_warp_sum(sum3);
            if (din_lane() == 0u) {
                tile17[r1] = total8;
            }
        }
        // common.din:17:31: train.9.gather_softplus_multiply_sigmoid_sum
        din_barrier();
        const unsigned t27 = din_thread();
        if (t27 < 16u) {
            const unsigned g10 = t27;
            const float v11 = b0[0];
            const float v12 = b1[0];
            float total13 = 0.0f;
            for (unsigned r14 = g10; r14 < count1; r14 += 16u) {
                const float v15 = tile17[r14];
                const unsigned i16 = request1[r14];
                const float v17 = b5[i16];
                const float v18 = v15 + v17;
                const float v19 = din_softplus(v18);
                const float v20 = label0[r14];
                const float v21 = v20 * v18;
                const float v22 = v19 - v21;
                const float v23 = din_sigmoid(v18);
                const float v24 = v11 * v23;
                const float v25 = v12 * v20;
                const float v26 = v25 + v24;
                total13 = total13 + v22;
                b18[r14] = v18;
                b20[r14] = v26;
            }
            sums28[t27] = total13;
        }
        din_barrier();
        din_join_groups<1, 16, DinAdd>(sums28 + 0u, partial23 + 0u);
        // common.din:17:35: train.10.gather_multiply
        const unsigned t36 = din_thread();
        if (t36 < 255u) {
            const unsigned c29 = t36 % 5u, g30 = t36 / 5u;
            for (unsigned r31 = g30; r31 < count1; r31 += 51u) {
                const float v32 = b20[r31];
                const unsigned i33 = rows0_1[r31];
                const float v34 = table0[size_t(i33) * 5u + c29];
                const float v35 = v32 * v34;
                b21[r31 * 5u + c29] = v35;
            }
        }
    }
}

// Phase 5: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_5_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned chunks = din_min((scalars[2] + 15u) / 16u, 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 23u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b19 = din_pointer<float>(pointers, 28u);
    din_join_copies<1, 4, 0>(chunks, copies + 0u, sums, b19);
}

// Phase 6, one element.
extern "C" DIN_KERNEL(256) din_train_6(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const DinPtr<float> b19 = din_pointer<float>(pointers, 28u);
    const DinPtr<float> total1 = din_pointer<float>(pointers, 0u);
    const DinPtr<float> b24 = din_pointer<float>(pointers, 29u);
    // common.din:18:14: train.11.copy
    if (din_thread() == 0u) {
        const double v1 = double(float(b19[0]));
        const double v2 = double(float(total1[0]));
        const double v3 = v1 / v2;
        b24[0] = float(v3);
    }
}

// Phase 7, tiles of 16 requests at most.
extern "C" DIN_KERNEL(256) din_train_7(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[0];
    const unsigned each = din_adaptive_tile(elements, 256u, 16u);
    const unsigned tiles = din_tiles(elements, each);
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 23u) + size_t(din_chunk()) * 12u;
    din_fill<2>(copy + 0u, 0.0f);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first3 = tile * each;
        const unsigned count3 = din_min(elements - first3, each);
        const bool first_tile = tile == begin;
        const DinPtr<float> table1 = din_pointer<float>(pointers, 5u);
        const DinPtr<const unsigned> rows1_0 = din_pointer<const unsigned>(pointers, 6u) + first3;
        const DinPtr<float> tile28 = din_shared() + 0u;
        const DinPtr<float> tile26 = din_shared() + 48u;
        const DinPtr<float> b20 = din_pointer<float>(pointers, 26u);
        const DinPtr<float> sums7 = din_shared() + 96u;
        const DinPtr<const unsigned> begin1 = din_pointer<const unsigned>(pointers, 30u);
        const DinPtr<float> tile27 = din_shared() + 64u;
        const DinPtr<float> partial32 = copy + 0u;
        const DinPtr<float> sums14 = din_shared() + 96u;
        const DinPtr<float> partial33 = copy + 4u;
        const DinPtr<float> b25 = din_pointer<float>(pointers, 4u);
        const DinPtr<float> b31 = din_pointer<float>(pointers, 31u) + size_t(first3) * 3u;
        // common.din:17:70: train.1.gather
        const unsigned t6 = din_thread();
        if (t6 < 255u) {
            const unsigned c1 = t6 % 3u, g2 = t6 / 3u;
            for (unsigned r3 = g2; r3 < count3; r3 += 85u) {
                const unsigned i4 = rows1_0[r3];
                const float v5 = table1[size_t(i4) * 3u + c1];
                tile28[r3 * 3u + c1] = v5;
            }
        }
        // common.din:17:31: sums over samples of 1 columns
        din_reduce_samples<DinAdd, 1, 1, 1>(count3, first3, begin1, b20, sums7, tile26);
        // common.din:17:59: train.12.sum
        din_barrier();
        const unsigned t13 = din_thread();
        if (t13 < 32u) {
            const unsigned c8 = t13 % 2u, g9 = t13 / 2u;
            float total10 = 0.0f;
            for (unsigned r11 = g9; r11 < count3; r11 += 16u) {
                const float v12 = tile26[r11];
                total10 = total10 + v12;
                tile27[r11 * 2u + c8] = v12;
            }
            sums14[t13] = total10;
        }
        din_barrier();
        din_join_groups<2, 16, DinAdd>(sums14 + 0u, partial32 + 0u);
        // std.layer:8:5: gradient of a weight, 3 x 2
        din_outer<3, 2, 1, 1>(count3, DinMatrix<3, 1>{tile28}, DinMatrix<2, 1>{tile27}, DinStoreFirst<2, 1>{partial33, first_tile});
        // std.layer:8:5: product by 2 x 3
        din_product<2, 3, 1, 1>(count3, DinRows<2, 1>{tile27}, DinMatrix<3, 1>{b25}, DinStore<3, 1>{b31});
        din_barrier();
    }
}

// Phase 7: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_7_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned chunks = din_min(din_tiles(scalars[0], din_adaptive_tile(scalars[0], 256u, 16u)), 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 23u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b30 = din_pointer<float>(pointers, 32u);
    const DinPtr<float> b29 = din_pointer<float>(pointers, 33u);
    din_join_copies<2, 12, 0>(chunks, copies + 0u, sums, b30);
    din_join_copies<6, 12, 1>(chunks, copies + 4u, sums, b29);
}

// Phase 8, tiles of 64 entries of axis 2, 32 samples at most.
template <bool Short>
DIN_TILE void din_train_8_tile(DinPointers pointers, DinScalars scalars, unsigned first1, unsigned count1, unsigned first2, unsigned count2, DinPtr<float> spill, unsigned longest)
{
    const DinPtr<const unsigned> ends2 = din_pointer<const unsigned>(pointers, 17u) + first1;
    const DinPtr<float> b21 = din_pointer<float>(pointers, 27u) + size_t(first1) * 5u;
    const DinPtr<const unsigned> sample2 = din_pointer<const unsigned>(pointers, 18u) + first2;
    const DinPtr<float> table0 = din_pointer<float>(pointers, 9u);
    const DinPtr<const unsigned> rows0_2 = din_pointer<const unsigned>(pointers, 10u);
    const DinPtr<const unsigned> request1 = din_pointer<const unsigned>(pointers, 19u) + first1;
    const DinPtr<const unsigned> begin4 = din_pointer<const unsigned>(pointers, 20u);
    const DinPtr<float> b15 = din_pointer<float>(pointers, 21u) + first2;
    const DinPtr<float> tile34 = Short ? din_shared() + 0u : spill + 0u;
    const DinPtr<float> b37 = din_pointer<float>(pointers, 34u) + size_t(first2) * 5u;
    const DinPtr<float> b36 = din_pointer<float>(pointers, 35u) + first1;
    const DinPtr<float> b35 = din_pointer<float>(pointers, 36u) + first2;
    // common.din:16:17: train.13.gather_multiply
    for (unsigned r1 = din_warp(); r1 < count2; r1 += 8u) {
        float sum3 = 0.0f;
        for (unsigned c2 = din_lane(); c2 < 5u; c2 += 32u) {
            const unsigned i4 = sample2[r1] - first1;
            const float v5 = b21[i4 * 5u + c2];
            const unsigned i6 = request1[i4];
            const unsigned f7 = begin4[i6];
            const unsigned i8 = f7 + (r1 - (ends2[i4] - first2));
            const unsigned i9 = rows0_2[i8];
            const float v10 = table0[size_t(i9) * 5u + c2];
            const float v11 = v5 * v10;
            const float v12 = b15[r1];
            const float v13 = v5 * v12;
            b37[r1 * 5u + c2] = v13;
            sum3 = sum3 + v11;
        }
        const float total14 = din_warp_sum(sum3);
        if (din_lane() == 0u) {
            tile34[r1] = total14;
        }
    }
    // common.din:15:14: fill with 0
    din_fill_rows<1, 1>(count1, b36, 0.0f);
    // common.din:15:14: train.14.multiply_sum
    din_barrier();
    const unsigned t26 = din_thread();
    {
        const unsigned g16 = t26;
        const float v17 = 1.0f;
        for (unsigned s19 = g16; s19 < count1; s19 += 256u) {
            float sum20 = 0.0f;
            for (unsigned r18 = ends2[s19] - first2, stop = ends2[s19 + 1u] - first2; r18 < stop; ++r18) {
                const float v21 = b15[r18];
                const float v22 = v17 - v21;
                const float v23 = v21 * v22;
                const float v24 = tile34[r18];
                const float v25 = v24 * v23;
                sum20 = sum20 + v25;
                b35[r18] = v25;
            }
            b36[s19] = float(b36[s19]) + sum20;
        }
    }
}

extern "C" DIN_KERNEL(256) din_train_8(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned tiles = scalars[3];
    const unsigned longest = scalars[4];
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> spill = scratch + (size_t(din_instance()) * 256u + din_chunk()) * (0u + size_t(longest) * 1u);
    const DinPtr<const unsigned> bounds = din_pointer<const unsigned>(pointers, 16u);
    const DinPtr<const unsigned> offsets = din_pointer<const unsigned>(pointers, 17u);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = bounds[tile];
        const unsigned count1 = bounds[tile + 1] - first1;
        const unsigned first2 = offsets[first1];
        const unsigned count2 = offsets[first1 + count1] - first2;
        if (count2 <= 64u) {
            din_train_8_tile<true>(pointers, scalars, first1, count1, first2, count2, spill, longest);
        } else {
            din_train_8_tile<false>(pointers, scalars, first1, count1, first2, count2, spill, longest);
        }
        din_barrier();
    }
}

// Phase 9, tiles of 64 entries of axis 4 at most.
extern "C" DIN_KERNEL(256) din_train_9(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[1];
    const unsigned each = din_adaptive_tile(elements, 256u, 64u);
    const unsigned tiles = din_tiles(elements, each);
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 23u) + size_t(din_chunk()) * 8u;
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first4 = tile * each;
        const unsigned count4 = din_min(elements - first4, each);
        const bool first_tile = tile == begin;
        const DinPtr<float> table0 = din_pointer<float>(pointers, 9u);
        const DinPtr<const unsigned> rows0_2 = din_pointer<const unsigned>(pointers, 10u) + first4;
        const DinPtr<float> tile39 = din_shared() + 0u;
        const DinPtr<float> tile38 = din_shared() + 320u;
        const DinPtr<float> b35 = din_pointer<float>(pointers, 36u);
        const DinPtr<float> sums7 = din_shared() + 704u;
        const DinPtr<const unsigned> begin1 = din_pointer<const unsigned>(pointers, 30u);
        const DinPtr<const unsigned> request4 = din_pointer<const unsigned>(pointers, 37u) + first4;
        const DinPtr<const unsigned> begin4 = din_pointer<const unsigned>(pointers, 20u);
        const DinPtr<const unsigned> begin2 = din_pointer<const unsigned>(pointers, 17u);
        const DinPtr<float> tile41 = din_shared() + 384u;
        const DinPtr<float> b37 = din_pointer<float>(pointers, 34u);
        const DinPtr<float> sums8 = din_shared() + 704u;
        const DinPtr<float> param0 = din_pointer<float>(pointers, 11u);
        const DinPtr<float> b42 = din_pointer<float>(pointers, 38u) + size_t(first4) * 5u;
        const DinPtr<float> partial43 = copy + 0u;
        // common.din:15:36: train.3.gather
        const unsigned t6 = din_thread();
        if (t6 < 255u) {
            const unsigned c1 = t6 % 5u, g2 = t6 / 5u;
            for (unsigned r3 = g2; r3 < count4; r3 += 51u) {
                const unsigned i4 = rows0_2[r3];
                const float v5 = table0[size_t(i4) * 5u + c1];
                tile39[r3 * 5u + c1] = v5;
            }
        }
        // std.layer:8:5: sums over samples of 1 columns
        din_reduce_pairs<DinAdd, 1, 1, 1>(count4, first4, begin1, request4, begin4, begin2, b35, sums7, tile38);
        // common.din:16:17: sums over samples of 5 columns
        din_barrier();
        din_reduce_pairs<DinAdd, 5, 5, 5>(count4, first4, begin1, request4, begin4, begin2, b37, sums8, tile41);
        // std.layer:8:5: train.15.multiply
        din_barrier();
        const unsigned t17 = din_thread();
        if (t17 < 255u) {
            const unsigned c9 = t17 % 5u, g10 = t17 / 5u;
            const float v11 = param0[c9];
            for (unsigned r12 = g10; r12 < count4; r12 += 51u) {
                const float v13 = tile38[r12];
                const float v14 = v13 * v11;
                const float v15 = tile41[r12 * 5u + c9];
                const float v16 = v15 + v14;
                b42[r12 * 5u + c9] = v16;
            }
        }
        // std.layer:8:5: gradient of a weight, 5 x 1
        din_outer<5, 1, 1, 1>(count4, DinMatrix<5, 1>{tile39}, DinMatrix<1, 1>{tile38}, DinStoreFirst<1, 1>{partial43, first_tile});
        din_barrier();
    }
}

// Phase 9: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_9_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned chunks = din_min(din_tiles(scalars[1], din_adaptive_tile(scalars[1], 256u, 64u)), 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 23u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b40 = din_pointer<float>(pointers, 39u);
    din_join_copies<5, 8, 0>(chunks, copies + 0u, sums, b40);
}

// Phase 10, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_train_10(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[2];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 23u) + size_t(din_chunk()) * 12u;
    din_fill<1>(copy + 0u, 0.0f);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const bool first_tile = tile == begin;
        const DinPtr<float> table0 = din_pointer<float>(pointers, 9u);
        const DinPtr<const unsigned> rows0_1 = din_pointer<const unsigned>(pointers, 13u) + first1;
        const DinPtr<float> b36 = din_pointer<float>(pointers, 35u) + first1;
        const DinPtr<float> param0 = din_pointer<float>(pointers, 11u);
        const DinPtr<float> b20 = din_pointer<float>(pointers, 26u) + first1;
        const DinPtr<float> b16 = din_pointer<float>(pointers, 22u) + size_t(first1) * 5u;
        const DinPtr<float> tile44 = din_shared() + 0u;
        const DinPtr<float> b47 = din_pointer<float>(pointers, 40u) + size_t(first1) * 5u;
        const DinPtr<float> partial48 = copy + 0u;
        const DinPtr<float> sums20 = din_shared() + 80u;
        const DinPtr<float> partial49 = copy + 4u;
        // common.din:15:51: train.16.gather_multiply
        const unsigned t13 = din_thread();
        if (t13 < 255u) {
            const unsigned c1 = t13 % 5u, g2 = t13 / 5u;
            const float v3 = param0[c1 + 5u];
            for (unsigned r4 = g2; r4 < count1; r4 += 51u) {
                const unsigned i5 = rows0_1[r4];
                const float v6 = table0[size_t(i5) * 5u + c1];
                const float v7 = b36[r4];
                const float v8 = v7 * v3;
                const float v9 = b20[r4];
                const float v10 = b16[r4 * 5u + c1];
                const float v11 = v9 * v10;
                const float v12 = v11 + v8;
                tile44[r4 * 5u + c1] = v6;
                b47[r4 * 5u + c1] = v12;
            }
        }
        // std.layer:8:5: train.17.sum
        const unsigned t19 = din_thread();
        if (t19 < 16u) {
            const unsigned g15 = t19;
            float total16 = 0.0f;
            for (unsigned r17 = g15; r17 < count1; r17 += 16u) {
                const float v18 = b36[r17];
                total16 = total16 + v18;
            }
            sums20[t19] = total16;
        }
        din_barrier();
        din_join_groups<1, 16, DinAdd>(sums20 + 0u, partial48 + 0u);
        // std.layer:8:5: gradient of a weight, 5 x 1
        din_outer<5, 1, 1, 1>(count1, DinMatrix<5, 1>{tile44}, DinMatrix<1, 1>{b36}, DinStoreFirst<1, 1>{partial49, first_tile});
        din_barrier();
    }
}

// Phase 10: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_10_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const unsigned chunks = din_min((scalars[2] + 15u) / 16u, 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 23u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b46 = din_pointer<float>(pointers, 41u);
    const DinPtr<float> b45 = din_pointer<float>(pointers, 42u);
    din_join_copies<1, 12, 0>(chunks, copies + 0u, sums, b46);
    din_join_copies<5, 12, 1>(chunks, copies + 4u, sums, b45);
}

// Phase 11, one element.
extern "C" DIN_KERNEL(256) din_train_11(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 44u;
    scalars += din_instance() * 5u;
    const DinPtr<float> b40 = din_pointer<float>(pointers, 39u);
    const DinPtr<float> b45 = din_pointer<float>(pointers, 42u);
    const DinPtr<float> b50 = din_pointer<float>(pointers, 43u);
    // std.layer:6:11: train.18.copy
    for (unsigned c1 = din_chunk() * 256u + din_thread(); c1 < 5u; c1 += din_chunks() * 256u) {
        const float v2 = b40[c1];
        const float v3 = b45[c1];
        b50[c1] = v2;
        b50[c1 + 5u] = v3;
    }
}

