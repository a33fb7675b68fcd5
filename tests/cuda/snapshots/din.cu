// Phase 0, one element.
extern "C" DIN_KERNEL(256) din_train_0(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const DinPtr<float> param0 = din_pointer<float>(pointers, 0u);
    const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
    const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
    // std.layer:8:5: train.0.copy
    for (unsigned c1 = din_chunk() * 256u + din_thread(); c1 < 3840u; c1 += din_chunks() * 256u) {
        const float v2 = param0[c1];
        const float v3 = param0[c1 + 7680u];
        const float v4 = v2 + v3;
        const float v5 = param0[c1 + 11520u];
        const float v6 = param0[c1 + 3840u];
        const float v7 = v6 - v3;
        b0[c1] = v4;
        b0[c1 + 3840u] = v5;
        b1[c1] = v7;
    }
}

// Phase 0, one element.
extern "C" DIN_KERNEL(256) din_train_0_1(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const DinPtr<float> total1 = din_pointer<float>(pointers, 3u);
    const DinPtr<float> b2 = din_pointer<float>(pointers, 4u);
    const DinPtr<float> b3 = din_pointer<float>(pointers, 5u);
    // din.din:41:19: train.1.copy
    if (din_thread() == 0u) {
        const double v1 = 1.0;
        const double v2 = double(float(total1[0]));
        const double v3 = v1 / v2;
        const double v4 = -v3;
        b2[0] = float(v3);
        b3[0] = float(v4);
    }
}

// Phase 0, one element.
extern "C" DIN_KERNEL(256) din_train_0_2(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const DinPtr<float> param11 = din_pointer<float>(pointers, 6u);
    const DinPtr<float> b27 = din_pointer<float>(pointers, 7u);
    const DinPtr<float> param8 = din_pointer<float>(pointers, 8u);
    const DinPtr<float> b29 = din_pointer<float>(pointers, 9u);
    const DinPtr<float> param3 = din_pointer<float>(pointers, 10u);
    const DinPtr<float> b72 = din_pointer<float>(pointers, 11u);
    const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
    const DinPtr<float> b73 = din_pointer<float>(pointers, 12u);
    const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
    const DinPtr<float> b101 = din_pointer<float>(pointers, 13u);
    // std.layer:8:5: transposed weight, 200 x 80
    din_transpose<200, 80, 80>(param11, b27);
    // std.layer:8:5: transposed weight, 128 x 200
    din_transpose<128, 200, 200>(param8, b29);
    // std.layer:8:5: transposed weight, 80 x 40
    din_transpose<80, 40, 40>(param3, b72);
    // din.din:34:21: transposed weight, 96 x 80
    din_transpose<96, 80, 80>(b0, b73);
    // std.layer:8:5: transposed weight, 48 x 80
    din_transpose<48, 80, 80>(b1, b101);
}

// Phase 1, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_train_1(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[0];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const DinPtr<float> table0 = din_pointer<float>(pointers, 14u);
        const DinPtr<const unsigned> rows0_2 = din_pointer<const unsigned>(pointers, 15u) + first1;
        const DinPtr<float> table1 = din_pointer<float>(pointers, 16u);
        const DinPtr<const unsigned> rows1_3 = din_pointer<const unsigned>(pointers, 17u) + first1;
        const DinPtr<float> table2 = din_pointer<float>(pointers, 18u);
        const DinPtr<const unsigned> rows2_4 = din_pointer<const unsigned>(pointers, 19u) + first1;
        const DinPtr<float> b6 = din_pointer<float>(pointers, 20u) + size_t(first1) * 48u;
        const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
        const DinPtr<float> tile7 = din_shared() + 0u;
        const DinPtr<float> param1 = din_pointer<float>(pointers, 21u);
        const DinPtr<float> b8 = din_pointer<float>(pointers, 22u) + size_t(first1) * 80u;
        // din.din:33:21: train.2.gather
        const unsigned t10 = din_thread();
        {
            const unsigned c1 = t10 % 16u, g2 = t10 / 16u;
            for (unsigned r3 = g2; r3 < count1; r3 += 16u) {
                const unsigned i4 = rows0_2[r3];
                const float v5 = table0[size_t(i4) * 16u + c1];
                const unsigned i6 = rows1_3[r3];
                const float v7 = table1[size_t(i6) * 16u + c1];
                const unsigned i8 = rows2_4[r3];
                const float v9 = table2[size_t(i8) * 16u + c1];
                b6[r3 * 48u + c1] = v5;
                b6[r3 * 48u + c1 + 16u] = v7;
                b6[r3 * 48u + c1 + 32u] = v9;
            }
        }
        // std.layer:8:5: product by 48 x 80
        din_barrier();
        din_product<48, 80, 4, 4>(count1, DinRows<48, 4>{b6}, DinMatrix<80, 4>{b1}, DinStore<84, 4>{tile7});
        // std.layer:8:5: train.3.copy
        din_barrier();
        const unsigned t17 = din_thread();
        if (t17 < 240u) {
            const unsigned c11 = t17 % 80u, g12 = t17 / 80u;
            const float v13 = param1[c11];
            for (unsigned r14 = g12; r14 < count1; r14 += 3u) {
                const float v15 = tile7[r14 * 84u + c11];
                const float v16 = v15 + v13;
                b8[r14 * 80u + c11] = v16;
            }
        }
    }
}

// Phase 2, tiles of 64 entries of axis 2, 32 samples at most.
template <bool Short>
DIN_TILE void din_train_2_tile(DinPointers pointers, DinScalars scalars, unsigned first1, unsigned count1, unsigned first2, unsigned count2, DinPtr<float> spill, unsigned longest)
{
    const DinPtr<const unsigned> ends2 = din_pointer<const unsigned>(pointers, 24u) + first1;
    const DinPtr<float> table0 = din_pointer<float>(pointers, 14u);
    const DinPtr<const unsigned> rows0_7 = din_pointer<const unsigned>(pointers, 25u) + first2;
    const DinPtr<float> table1 = din_pointer<float>(pointers, 16u);
    const DinPtr<const unsigned> rows1_8 = din_pointer<const unsigned>(pointers, 26u) + first2;
    const DinPtr<float> table2 = din_pointer<float>(pointers, 18u);
    const DinPtr<const unsigned> rows2_9 = din_pointer<const unsigned>(pointers, 27u) + first2;
    const DinPtr<float> tile10 = Short ? din_shared() + 0u : spill + 0u;
    const DinPtr<float> b6 = din_pointer<float>(pointers, 20u) + size_t(first1) * 48u;
    const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
    const DinPtr<float> tile11 = Short ? din_shared() + 3328u : spill + 0u + size_t(longest) * 52u;
    const DinPtr<const unsigned> sample2 = din_pointer<const unsigned>(pointers, 28u) + first2;
    const DinPtr<float> products11 = Short ? din_shared() + 14080u : spill + 0u + size_t(longest) * 220u;
    const DinPtr<float> b8 = din_pointer<float>(pointers, 22u) + size_t(first1) * 80u;
    const DinPtr<float> param2 = din_pointer<float>(pointers, 29u);
    const DinPtr<float> b12 = din_pointer<float>(pointers, 30u) + size_t(first2) * 80u;
    const DinPtr<float> tile13 = Short ? din_shared() + 8704u : spill + 0u + size_t(longest) * 136u;
    const DinPtr<float> param3 = din_pointer<float>(pointers, 10u);
    const DinPtr<float> tile14 = Short ? din_shared() + 3328u : spill + 0u + size_t(longest) * 52u;
    const DinPtr<float> param4 = din_pointer<float>(pointers, 31u);
    const DinPtr<float> param5 = din_pointer<float>(pointers, 32u);
    const DinPtr<float> b15 = din_pointer<float>(pointers, 33u) + size_t(first2) * 40u;
    const DinPtr<float> tile16 = Short ? din_shared() + 8704u : spill + 0u + size_t(longest) * 136u;
    const DinPtr<float> param6 = din_pointer<float>(pointers, 34u);
    const DinPtr<float> tile17 = Short ? din_shared() + 3328u : spill + 0u + size_t(longest) * 52u;
    const DinPtr<float> param7 = din_pointer<float>(pointers, 35u);
    const DinPtr<float> b18 = din_pointer<float>(pointers, 36u) + first2;
    const DinPtr<float> b19 = din_pointer<float>(pointers, 37u) + size_t(first1) * 48u;
    // din.din:34:21: train.4.gather
    const unsigned t10 = din_thread();
    {
        const unsigned c1 = t10 % 16u, g2 = t10 / 16u;
        for (unsigned r3 = g2; r3 < count2; r3 += 16u) {
            const unsigned i4 = rows0_7[r3];
            const float v5 = table0[size_t(i4) * 16u + c1];
            const unsigned i6 = rows1_8[r3];
            const float v7 = table1[size_t(i6) * 16u + c1];
            const unsigned i8 = rows2_9[r3];
            const float v9 = table2[size_t(i8) * 16u + c1];
            tile10[r3 * 52u + c1] = v5;
            tile10[r3 * 52u + c1 + 16u] = v7;
            tile10[r3 * 52u + c1 + 32u] = v9;
        }
    }
    // std.layer:8:5: folded product by 96 x 80
    din_barrier();
    din_times_samples<48, 52, 48, 52>(count2, tile10, b6, sample2, first1, products11);
    din_barrier();
    din_product<48, 80, 8, 5>(count2, DinTwoParts<52, 52, 4>{tile10, products11}, DinMatrix<80, 4, 48>{b0}, DinStore<84, 4>{tile11});
    // std.layer:8:5: train.5.gather_multiply_select
    din_barrier();
    const unsigned t24 = din_thread();
    if (t24 < 240u) {
        const unsigned c12 = t24 % 80u, g13 = t24 / 80u;
        const float v14 = 0.0f;
        const float v15 = param2[c12];
        for (unsigned r16 = g13; r16 < count2; r16 += 3u) {
            const float v17 = tile11[r16 * 84u + c12];
            const unsigned i18 = sample2[r16] - first1;
            const float v19 = b8[i18 * 80u + c12];
            const float v20 = v17 + v19;
            const float v21 = v14 < v20 ? 1.0f : 0.0f;
            const float v22 = v15 * v20;
            const float v23 = v21 != 0.0f ? v20 : v22;
            b12[r16 * 80u + c12] = v20;
            tile13[r16 * 84u + c12] = v23;
        }
    }
    // std.layer:8:5: product by 80 x 40
    din_barrier();
    din_product<80, 40, 4, 5>(count2, DinRows<84, 4>{tile13}, DinMatrix<40, 4>{param3}, DinStore<44, 4>{tile14});
    // std.layer:8:5: train.6.multiply_select
    din_barrier();
    const unsigned t36 = din_thread();
    if (t36 < 240u) {
        const unsigned c25 = t36 % 40u, g26 = t36 / 40u;
        const float v27 = param4[c25];
        const float v28 = 0.0f;
        const float v29 = param5[c25];
        for (unsigned r30 = g26; r30 < count2; r30 += 6u) {
            const float v31 = tile14[r30 * 44u + c25];
            const float v32 = v31 + v27;
            const float v33 = v28 < v32 ? 1.0f : 0.0f;
            const float v34 = v29 * v32;
            const float v35 = v33 != 0.0f ? v32 : v34;
            b15[r30 * 40u + c25] = v32;
            tile16[r30 * 44u + c25] = v35;
        }
    }
    // std.layer:8:5: product by 40 x 1
    din_barrier();
    din_product<40, 1, 1, 1>(count2, DinRows<44, 4>{tile16}, DinMatrix<1, 1>{param6}, DinStore<1, 1>{tile17});
    // std.layer:8:5: train.7.copy
    din_barrier();
    const unsigned t43 = din_thread();
    {
        const unsigned g38 = t43;
        const float v39 = param7[0];
        for (unsigned r40 = g38; r40 < count2; r40 += 256u) {
            const float v41 = tile17[r40];
            const float v42 = v41 + v39;
            b18[r40] = v42;
        }
    }
    // std.attention:14:9: fill with 0
    din_fill_rows<48, 48>(count1, b19, 0.0f);
    // std.attention:14:9: train.8.multiply_sum
    din_barrier();
    const unsigned t52 = din_thread();
    if (t52 < 240u) {
        const unsigned c44 = t52 % 48u, g45 = t52 / 48u;
        for (unsigned s47 = g45; s47 < count1; s47 += 5u) {
            float sum48 = 0.0f;
            for (unsigned r46 = ends2[s47] - first2, stop = ends2[s47 + 1u] - first2; r46 < stop; ++r46) {
                const float v49 = b18[r46];
                const float v50 = tile10[r46 * 52u + c44];
                const float v51 = v49 * v50;
                sum48 = sum48 + v51;
            }
            b19[s47 * 48u + c44] = float(b19[s47 * 48u + c44]) + sum48;
        }
    }
}

extern "C" DIN_KERNEL(256) din_train_2(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned tiles = scalars[1];
    const unsigned longest = scalars[2];
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> spill = scratch + (size_t(din_instance()) * 256u + din_chunk()) * (0u + size_t(longest) * 272u);
    const DinPtr<const unsigned> bounds = din_pointer<const unsigned>(pointers, 23u);
    const DinPtr<const unsigned> offsets = din_pointer<const unsigned>(pointers, 24u);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = bounds[tile];
        const unsigned count1 = bounds[tile + 1] - first1;
        const unsigned first2 = offsets[first1];
        const unsigned count2 = offsets[first1 + count1] - first2;
        if (count2 <= 64u) {
            din_train_2_tile<true>(pointers, scalars, first1, count1, first2, count2, spill, longest);
        } else {
            din_train_2_tile<false>(pointers, scalars, first1, count1, first2, count2, spill, longest);
        }
        din_barrier();
    }
}

// Phase 3, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_train_3(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[0];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 38u) + size_t(din_chunk()) * 42248u;
    din_fill<1>(copy + 0u, 0.0f);
    din_fill<1>(copy + 4u, 0.0f);
    din_fill<80>(copy + 8u, 0.0f);
    din_fill<80>(copy + 88u, 0.0f);
    din_fill<200>(copy + 16248u, 0.0f);
    din_fill<200>(copy + 16448u, 0.0f);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const bool first_tile = tile == begin;
        const DinPtr<float> table3 = din_pointer<float>(pointers, 39u);
        const DinPtr<const unsigned> rows3_0 = din_pointer<const unsigned>(pointers, 40u) + first1;
        const DinPtr<float> table4 = din_pointer<float>(pointers, 41u);
        const DinPtr<const unsigned> rows4_1 = din_pointer<const unsigned>(pointers, 42u) + first1;
        const DinPtr<float> table5 = din_pointer<float>(pointers, 43u);
        const DinPtr<const unsigned> rows5_5 = din_pointer<const unsigned>(pointers, 44u) + first1;
        const DinPtr<float> table6 = din_pointer<float>(pointers, 45u);
        const DinPtr<const unsigned> rows6_6 = din_pointer<const unsigned>(pointers, 46u) + first1;
        const DinPtr<float> tile30 = din_shared() + 0u;
        const DinPtr<float> b19 = din_pointer<float>(pointers, 37u) + size_t(first1) * 48u;
        const DinPtr<float> table0 = din_pointer<float>(pointers, 14u);
        const DinPtr<const unsigned> rows0_2 = din_pointer<const unsigned>(pointers, 15u) + first1;
        const DinPtr<float> table1 = din_pointer<float>(pointers, 16u);
        const DinPtr<const unsigned> rows1_3 = din_pointer<const unsigned>(pointers, 17u) + first1;
        const DinPtr<float> table2 = din_pointer<float>(pointers, 18u);
        const DinPtr<const unsigned> rows2_4 = din_pointer<const unsigned>(pointers, 19u) + first1;
        const DinPtr<float> param8 = din_pointer<float>(pointers, 8u);
        const DinPtr<float> tile31 = din_shared() + 2112u;
        const DinPtr<float> param9 = din_pointer<float>(pointers, 47u);
        const DinPtr<float> param10 = din_pointer<float>(pointers, 48u);
        const DinPtr<float> tile32 = din_shared() + 5376u;
        const DinPtr<float> tile33 = din_shared() + 8640u;
        const DinPtr<float> tile34 = din_shared() + 11904u;
        const DinPtr<float> param11 = din_pointer<float>(pointers, 6u);
        const DinPtr<float> tile35 = din_shared() + 2112u;
        const DinPtr<float> param12 = din_pointer<float>(pointers, 49u);
        const DinPtr<float> param13 = din_pointer<float>(pointers, 50u);
        const DinPtr<float> tile36 = din_shared() + 15168u;
        const DinPtr<float> tile37 = din_shared() + 18432u;
        const DinPtr<float> tile38 = din_shared() + 19776u;
        const DinPtr<float> param14 = din_pointer<float>(pointers, 51u);
        const DinPtr<float> tile39 = din_shared() + 2112u;
        const DinPtr<float> param15 = din_pointer<float>(pointers, 52u);
        const DinPtr<float> label0 = din_pointer<float>(pointers, 53u) + first1;
        const DinPtr<float> b2 = din_pointer<float>(pointers, 4u);
        const DinPtr<float> b3 = din_pointer<float>(pointers, 5u);
        const DinPtr<float> b40 = din_pointer<float>(pointers, 54u) + first1;
        const DinPtr<float> partial62 = copy + 0u;
        const DinPtr<float> tile42 = din_shared() + 21120u;
        const DinPtr<float> partial63 = copy + 4u;
        const DinPtr<float> sums71 = din_shared() + 21136u;
        const DinPtr<float> tile43 = din_shared() + 2112u;
        const DinPtr<float> partial64 = copy + 8u;
        const DinPtr<float> partial65 = copy + 88u;
        const DinPtr<float> sums90 = din_shared() + 21136u;
        const DinPtr<float> partial66 = copy + 168u;
        const DinPtr<float> b27 = din_pointer<float>(pointers, 7u);
        const DinPtr<float> tile44 = din_shared() + 15168u;
        const DinPtr<float> partial67 = copy + 248u;
        const DinPtr<float> tile45 = din_shared() + 2112u;
        const DinPtr<float> partial68 = copy + 16248u;
        const DinPtr<float> partial69 = copy + 16448u;
        const DinPtr<float> b29 = din_pointer<float>(pointers, 9u);
        const DinPtr<float> b46 = din_pointer<float>(pointers, 55u) + size_t(first1) * 128u;
        const DinPtr<float> partial70 = copy + 16648u;
        // din.din:36:25: train.9.gather
        const unsigned t12 = din_thread();
        {
            const unsigned c1 = t12 % 8u, g2 = t12 / 8u;
            for (unsigned r3 = g2; r3 < count1; r3 += 32u) {
                const unsigned i4 = rows3_0[r3];
                const float v5 = table3[size_t(i4) * 8u + c1];
                const unsigned i6 = rows4_1[r3];
                const float v7 = table4[size_t(i6) * 8u + c1];
                const unsigned i8 = rows5_5[r3];
                const float v9 = table5[size_t(i8) * 8u + c1];
                const unsigned i10 = rows6_6[r3];
                const float v11 = table6[size_t(i10) * 8u + c1];
                tile30[r3 * 132u + c1] = v5;
                tile30[r3 * 132u + c1 + 8u] = v7;
                tile30[r3 * 132u + c1 + 16u] = v9;
                tile30[r3 * 132u + c1 + 24u] = v11;
            }
        }
        // din.din:36:25: train.10.copy
        din_barrier();
        const unsigned t17 = din_thread();
        if (t17 < 240u) {
            const unsigned c13 = t17 % 48u, g14 = t17 / 48u;
            for (unsigned r15 = g14; r15 < count1; r15 += 5u) {
                const float v16 = b19[r15 * 48u + c13];
                tile30[r15 * 132u + c13 + 32u] = v16;
            }
        }
        // din.din:36:25: train.11.gather
        din_barrier();
        const unsigned t27 = din_thread();
        {
            const unsigned c18 = t27 % 16u, g19 = t27 / 16u;
            for (unsigned r20 = g19; r20 < count1; r20 += 16u) {
                const unsigned i21 = rows0_2[r20];
                const float v22 = table0[size_t(i21) * 16u + c18];
                const unsigned i23 = rows1_3[r20];
                const float v24 = table1[size_t(i23) * 16u + c18];
                const unsigned i25 = rows2_4[r20];
                const float v26 = table2[size_t(i25) * 16u + c18];
                tile30[r20 * 132u + c18 + 80u] = v22;
                tile30[r20 * 132u + c18 + 96u] = v24;
                tile30[r20 * 132u + c18 + 112u] = v26;
            }
        }
        // std.layer:8:5: product by 128 x 200
        din_barrier();
        din_product<128, 200, 6, 5>(count1, DinRows<132, 4>{tile30}, DinMatrix<200, 4>{param8}, DinStore<204, 4>{tile31});
        // std.layer:8:5: train.12.multiply_select
        din_barrier();
        const unsigned t39 = din_thread();
        if (t39 < 200u) {
            const unsigned c28 = t39, g29 = 0u;
            const float v30 = param9[c28];
            const float v31 = 0.0f;
            const float v32 = param10[c28];
            for (unsigned r33 = g29; r33 < count1; r33 += 1u) {
                const float v34 = tile31[r33 * 204u + c28];
                const float v35 = v34 + v30;
                const float v36 = v31 < v35 ? 1.0f : 0.0f;
                const float v37 = v32 * v35;
                const float v38 = v36 != 0.0f ? v35 : v37;
                tile32[r33 * 204u + c28] = v35;
                tile33[r33 * 204u + c28] = v36;
                tile34[r33 * 204u + c28] = v38;
            }
        }
        // std.layer:8:5: product by 200 x 80
        din_barrier();
        din_product<200, 80, 4, 4>(count1, DinRows<204, 4>{tile34}, DinMatrix<80, 4>{param11}, DinStore<84, 4>{tile35});
        // std.layer:8:5: train.13.multiply_select
        din_barrier();
        const unsigned t51 = din_thread();
        if (t51 < 240u) {
            const unsigned c40 = t51 % 80u, g41 = t51 / 80u;
            const float v42 = param12[c40];
            const float v43 = 0.0f;
            const float v44 = param13[c40];
            for (unsigned r45 = g41; r45 < count1; r45 += 3u) {
                const float v46 = tile35[r45 * 84u + c40];
                const float v47 = v46 + v42;
                const float v48 = v43 < v47 ? 1.0f : 0.0f;
                const float v49 = v44 * v47;
                const float v50 = v48 != 0.0f ? v47 : v49;
                tile36[r45 * 84u + c40] = v47;
                tile37[r45 * 84u + c40] = v48;
                tile38[r45 * 84u + c40] = v50;
            }
        }
        // std.layer:8:5: product by 80 x 1
        din_barrier();
        din_product<80, 1, 1, 1>(count1, DinRows<84, 4>{tile38}, DinMatrix<1, 1>{param14}, DinStore<1, 1>{tile39});
        // std.layer:8:5: train.14.softplus_multiply_sigmoid_sum
        din_barrier();
        const unsigned t70 = din_thread();
        if (t70 < 16u) {
            const unsigned g53 = t70;
            const float v54 = param15[0];
            const float v55 = b2[0];
            const float v56 = b3[0];
            float total57 = 0.0f;
            float total58 = 0.0f;
            for (unsigned r59 = g53; r59 < count1; r59 += 16u) {
                const float v60 = tile39[r59];
                const float v61 = v60 + v54;
                const float v62 = din_softplus(v61);
                const float v63 = label0[r59];
                const float v64 = v63 * v61;
                const float v65 = v62 - v64;
                const float v66 = din_sigmoid(v61);
                const float v67 = v55 * v66;
                const float v68 = v56 * v63;
                const float v69 = v68 + v67;
                total57 = total57 + v65;
                total58 = total58 + v69;
                b40[r59] = v61;
                tile42[r59] = v69;
            }
            sums71[t70] = total57;
            sums71[t70 + 16u] = total58;
        }
        din_barrier();
        din_join_groups<1, 16, DinAdd>(sums71 + 0u, partial62 + 0u);
        din_join_groups<1, 16, DinAdd>(sums71 + 16u, partial63 + 0u);
        // std.layer:8:5: train.15.multiply_select_sum
        din_barrier();
        const unsigned t89 = din_thread();
        if (t89 < 240u) {
            const unsigned c72 = t89 % 80u, g73 = t89 / 80u;
            const float v74 = param14[c72];
            const float v75 = 0.0f;
            const float v76 = param13[c72];
            float total77 = 0.0f;
            float total78 = 0.0f;
            for (unsigned r79 = g73; r79 < count1; r79 += 3u) {
                const float v80 = tile42[r79];
                const float v81 = v80 * v74;
                const float v82 = tile37[r79 * 84u + c72];
                const float v83 = v82 != 0.0f ? v81 : v75;
                const float v84 = v82 != 0.0f ? v75 : v81;
                const float v85 = v84 * v76;
                const float v86 = v83 + v85;
                const float v87 = tile36[r79 * 84u + c72];
                const float v88 = v84 * v87;
                total77 = total77 + v86;
                total78 = total78 + v88;
                tile43[r79 * 84u + c72] = v86;
            }
            sums90[t89] = total77;
            sums90[t89 + 240u] = total78;
        }
        din_barrier();
        din_join_groups<80, 3, DinAdd>(sums90 + 0u, partial64 + 0u);
        din_join_groups<80, 3, DinAdd>(sums90 + 240u, partial65 + 0u);
        // std.layer:8:5: gradient of a weight, 80 x 1
        din_outer<80, 1, 4, 1>(count1, DinMatrix<84, 4>{tile38}, DinMatrix<1, 1>{tile42}, DinStoreFirst<1, 1>{partial66, first_tile});
        // std.layer:8:5: product by 80 x 200
        din_product<80, 200, 6, 5>(count1, DinRows<84, 4>{tile43}, DinMatrix<200, 4>{b27}, DinStore<204, 4>{tile44});
        // std.layer:8:5: gradient of a weight, 200 x 80
        din_outer<200, 80, 8, 4>(count1, DinMatrix<204, 4>{tile34}, DinMatrix<84, 4>{tile43}, DinStoreFirst<80, 4>{partial67, first_tile});
        // std.activation:34:5: train.16.select_multiply_sum
        din_barrier();
        const unsigned t106 = din_thread();
        if (t106 < 200u) {
            const unsigned c91 = t106, g92 = 0u;
            const float v93 = 0.0f;
            const float v94 = param10[c91];
            float total95 = 0.0f;
            float total96 = 0.0f;
            for (unsigned r97 = g92; r97 < count1; r97 += 1u) {
                const float v98 = tile33[r97 * 204u + c91];
                const float v99 = tile44[r97 * 204u + c91];
                const float v100 = v98 != 0.0f ? v99 : v93;
                const float v101 = v98 != 0.0f ? v93 : v99;
                const float v102 = v101 * v94;
                const float v103 = v100 + v102;
                const float v104 = tile32[r97 * 204u + c91];
                const float v105 = v101 * v104;
                total95 = total95 + v103;
                total96 = total96 + v105;
                tile45[r97 * 204u + c91] = v103;
            }
            partial68[c91] = float(partial68[c91]) + total95;
            partial69[c91] = float(partial69[c91]) + total96;
        }
        // std.layer:8:5: product by 200 x 128
        din_barrier();
        din_product<200, 128, 4, 4>(count1, DinRows<204, 4>{tile45}, DinMatrix<128, 4>{b29}, DinStore<128, 4>{b46});
        // std.layer:8:5: gradient of a weight, 128 x 200
        din_outer<128, 200, 8, 5>(count1, DinMatrix<132, 4>{tile30}, DinMatrix<204, 4>{tile45}, DinStoreFirst<200, 4>{partial70, first_tile});
        din_barrier();
    }
}

// Phase 3: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_3_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned chunks = din_min((scalars[0] + 15u) / 16u, 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 38u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b41 = din_pointer<float>(pointers, 56u);
    const DinPtr<float> b54 = din_pointer<float>(pointers, 57u);
    const DinPtr<float> b51 = din_pointer<float>(pointers, 58u);
    const DinPtr<float> b52 = din_pointer<float>(pointers, 59u);
    const DinPtr<float> b53 = din_pointer<float>(pointers, 60u);
    const DinPtr<float> b50 = din_pointer<float>(pointers, 61u);
    const DinPtr<float> b48 = din_pointer<float>(pointers, 62u);
    const DinPtr<float> b49 = din_pointer<float>(pointers, 63u);
    const DinPtr<float> b47 = din_pointer<float>(pointers, 64u);
    din_join_copies<1, 42248, 0>(chunks, copies + 0u, sums, b41);
    din_join_copies<1, 42248, 1>(chunks, copies + 4u, sums, b54);
    din_join_copies<80, 42248, 2>(chunks, copies + 8u, sums, b51);
    din_join_copies<80, 42248, 5>(chunks, copies + 88u, sums, b52);
    din_join_copies<80, 42248, 8>(chunks, copies + 168u, sums, b53);
    din_join_copies<16000, 42248, 11>(chunks, copies + 248u, sums, b50);
    din_join_copies<200, 42248, 511>(chunks, copies + 16248u, sums, b48);
    din_join_copies<200, 42248, 518>(chunks, copies + 16448u, sums, b49);
    din_join_copies<25600, 42248, 525>(chunks, copies + 16648u, sums, b47);
}

// Phase 4, one element.
extern "C" DIN_KERNEL(256) din_train_4(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const DinPtr<float> b41 = din_pointer<float>(pointers, 56u);
    const DinPtr<float> total1 = din_pointer<float>(pointers, 3u);
    const DinPtr<float> b71 = din_pointer<float>(pointers, 65u);
    // din.din:41:19: train.17.copy
    if (din_thread() == 0u) {
        const double v1 = double(float(b41[0]));
        const double v2 = double(float(total1[0]));
        const double v3 = v1 / v2;
        b71[0] = float(v3);
    }
}

// Phase 5, tiles of 48 entries of axis 2, 32 samples at most.
template <bool Short>
DIN_TILE void din_train_5_tile(DinPointers pointers, DinScalars scalars, unsigned first1, unsigned count1, unsigned first2, unsigned count2, DinPtr<float> spill, unsigned longest, DinPtr<float> copy, bool first_tile)
{
    const DinPtr<const unsigned> ends2 = din_pointer<const unsigned>(pointers, 24u) + first1;
    const DinPtr<float> table0 = din_pointer<float>(pointers, 14u);
    const DinPtr<const unsigned> rows0_7 = din_pointer<const unsigned>(pointers, 25u) + first2;
    const DinPtr<float> table1 = din_pointer<float>(pointers, 16u);
    const DinPtr<const unsigned> rows1_8 = din_pointer<const unsigned>(pointers, 26u) + first2;
    const DinPtr<float> table2 = din_pointer<float>(pointers, 18u);
    const DinPtr<const unsigned> rows2_9 = din_pointer<const unsigned>(pointers, 27u) + first2;
    const DinPtr<float> tile74 = Short ? din_shared() + 0u : spill + 0u;
    const DinPtr<float> b15 = din_pointer<float>(pointers, 33u) + size_t(first2) * 40u;
    const DinPtr<float> param5 = din_pointer<float>(pointers, 32u);
    const DinPtr<float> tile76 = Short ? din_shared() + 2496u : spill + 0u + size_t(longest) * 52u;
    const DinPtr<float> tile88 = Short ? din_shared() + 6528u : spill + 0u + size_t(longest) * 136u;
    const DinPtr<float> b12 = din_pointer<float>(pointers, 30u) + size_t(first2) * 80u;
    const DinPtr<float> param2 = din_pointer<float>(pointers, 29u);
    const DinPtr<float> tile79 = Short ? din_shared() + 10560u : spill + 0u + size_t(longest) * 220u;
    const DinPtr<float> tile84 = Short ? din_shared() + 14592u : spill + 0u + size_t(longest) * 304u;
    const DinPtr<float> b46 = din_pointer<float>(pointers, 55u) + size_t(first1) * 128u;
    const DinPtr<const unsigned> sample2 = din_pointer<const unsigned>(pointers, 28u) + first2;
    const DinPtr<float> tile75 = Short ? din_shared() + 18624u : spill + 0u + size_t(longest) * 388u;
    const DinPtr<float> param6 = din_pointer<float>(pointers, 34u);
    const DinPtr<float> tile77 = Short ? din_shared() + 18672u : spill + 0u + size_t(longest) * 389u;
    const DinPtr<float> partial94 = copy + 0u;
    const DinPtr<float> partial95 = copy + 40u;
    const DinPtr<float> sums57 = din_shared() + 23280u;
    const DinPtr<float> partial96 = copy + 80u;
    const DinPtr<float> sums64 = din_shared() + 23280u;
    const DinPtr<float> partial97 = copy + 84u;
    const DinPtr<float> b72 = din_pointer<float>(pointers, 11u);
    const DinPtr<float> tile78 = Short ? din_shared() + 2496u : spill + 0u + size_t(longest) * 52u;
    const DinPtr<float> partial98 = copy + 124u;
    const DinPtr<float> b82 = din_pointer<float>(pointers, 67u) + size_t(first1) * 80u;
    const DinPtr<float> tile80 = Short ? din_shared() + 6528u : spill + 0u + size_t(longest) * 136u;
    const DinPtr<float> partial99 = copy + 3324u;
    const DinPtr<float> sums82 = din_shared() + 23280u;
    const DinPtr<float> b6 = din_pointer<float>(pointers, 20u) + size_t(first1) * 48u;
    const DinPtr<float> partial100 = copy + 3404u;
    const DinPtr<float> products83 = Short ? din_shared() + 20784u : spill + 0u + size_t(longest) * 433u;
    const DinPtr<float> b91 = din_pointer<float>(pointers, 68u) + size_t(first1) * 48u;
    const DinPtr<float> products84 = Short ? din_shared() + 20784u : spill + 0u + size_t(longest) * 433u;
    const DinPtr<float> b73 = din_pointer<float>(pointers, 12u);
    const DinPtr<float> tile92 = Short ? din_shared() + 0u : spill + 0u;
    const DinPtr<float> b18 = din_pointer<float>(pointers, 36u) + first2;
    const DinPtr<float> b93 = din_pointer<float>(pointers, 69u) + size_t(first2) * 48u;
    // din.din:34:21: train.4.gather
    const unsigned t10 = din_thread();
    {
        const unsigned c1 = t10 % 16u, g2 = t10 / 16u;
        for (unsigned r3 = g2; r3 < count2; r3 += 16u) {
            const unsigned i4 = rows0_7[r3];
            const float v5 = table0[size_t(i4) * 16u + c1];
            const unsigned i6 = rows1_8[r3];
            const float v7 = table1[size_t(i6) * 16u + c1];
            const unsigned i8 = rows2_9[r3];
            const float v9 = table2[size_t(i8) * 16u + c1];
            tile74[r3 * 52u + c1] = v5;
            tile74[r3 * 52u + c1 + 16u] = v7;
            tile74[r3 * 52u + c1 + 32u] = v9;
        }
    }
    // std.activation:34:12: train.18.multiply_select
    const unsigned t20 = din_thread();
    if (t20 < 240u) {
        const unsigned c11 = t20 % 40u, g12 = t20 / 40u;
        const float v13 = 0.0f;
        const float v14 = param5[c11];
        for (unsigned r15 = g12; r15 < count2; r15 += 6u) {
            const float v16 = b15[r15 * 40u + c11];
            const float v17 = v13 < v16 ? 1.0f : 0.0f;
            const float v18 = v14 * v16;
            const float v19 = v17 != 0.0f ? v16 : v18;
            tile76[r15 * 44u + c11] = v17;
            tile88[r15 * 44u + c11] = v19;
        }
    }
    // std.activation:34:12: train.19.multiply_select
    const unsigned t30 = din_thread();
    if (t30 < 240u) {
        const unsigned c21 = t30 % 80u, g22 = t30 / 80u;
        const float v23 = 0.0f;
        const float v24 = param2[c21];
        for (unsigned r25 = g22; r25 < count2; r25 += 3u) {
            const float v26 = b12[r25 * 80u + c21];
            const float v27 = v23 < v26 ? 1.0f : 0.0f;
            const float v28 = v24 * v26;
            const float v29 = v27 != 0.0f ? v26 : v28;
            tile79[r25 * 84u + c21] = v27;
            tile84[r25 * 84u + c21] = v29;
        }
    }
    // std.attention:14:9: train.20.gather_multiply
    din_barrier();
    for (unsigned r31 = din_warp(); r31 < count2; r31 += 8u) {
        float sum33 = 0.0f;
        for (unsigned c32 = din_lane(); c32 < 48u; c32 += 32u) {
            const unsigned i34 = sample2[r31] - first1;
            const float v35 = b46[i34 * 128u + c32 + 32u];
            const float v36 = tile74[r31 * 52u + c32];
            const float v37 = v35 * v36;
            sum33 = sum33 + v37;
        }
        const float total38 = din_warp_sum(sum33);
        if (din_lane() == 0u) {
            tile75[r31] = total38;
        }
    }
    // std.layer:8:5: train.21.multiply_select_sum
    din_barrier();
    const unsigned t56 = din_thread();
    if (t56 < 240u) {
        const unsigned c39 = t56 % 40u, g40 = t56 / 40u;
        const float v41 = param6[c39];
        const float v42 = 0.0f;
        const float v43 = param5[c39];
        float total44 = 0.0f;
        float total45 = 0.0f;
        for (unsigned r46 = g40; r46 < count2; r46 += 6u) {
            const float v47 = tile75[r46];
            const float v48 = v47 * v41;
            const float v49 = tile76[r46 * 44u + c39];
            const float v50 = v49 != 0.0f ? v48 : v42;
            const float v51 = v49 != 0.0f ? v42 : v48;
            const float v52 = v51 * v43;
            const float v53 = v50 + v52;
            const float v54 = b15[r46 * 40u + c39];
            const float v55 = v51 * v54;
            total44 = total44 + v53;
            total45 = total45 + v55;
            tile77[r46 * 44u + c39] = v53;
        }
        sums57[t56] = total44;
        sums57[t56 + 240u] = total45;
    }
    din_barrier();
    din_join_groups<40, 6, DinAdd>(sums57 + 0u, partial94 + 0u);
    din_join_groups<40, 6, DinAdd>(sums57 + 240u, partial95 + 0u);
    // std.layer:8:5: train.22.sum
    din_barrier();
    const unsigned t63 = din_thread();
    if (t63 < 16u) {
        const unsigned g59 = t63;
        float total60 = 0.0f;
        for (unsigned r61 = g59; r61 < count2; r61 += 16u) {
            const float v62 = tile75[r61];
            total60 = total60 + v62;
        }
        sums64[t63] = total60;
    }
    din_barrier();
    din_join_groups<1, 16, DinAdd>(sums64 + 0u, partial96 + 0u);
    // std.layer:8:5: gradient of a weight, 40 x 1
    din_outer<40, 1, 2, 1>(count2, DinMatrix<44, 4>{tile88}, DinMatrix<1, 1>{tile75}, DinStoreFirst<1, 1>{partial97, first_tile});
    // std.layer:8:5: product by 40 x 80
    din_product<40, 80, 6, 5>(count2, DinRows<44, 4>{tile77}, DinMatrix<80, 4>{b72}, DinStore<84, 4>{tile78});
    // std.layer:8:5: gradient of a weight, 80 x 40
    din_outer<80, 40, 8, 4>(count2, DinMatrix<84, 4>{tile84}, DinMatrix<44, 4>{tile77}, DinStoreFirst<40, 4>{partial98, first_tile});
    // std.activation:34:5: fill with 0
    din_fill_rows<80, 80>(count1, b82, 0.0f);
    // std.activation:34:5: train.23.select_multiply_sum
    din_barrier();
    const unsigned t81 = din_thread();
    if (t81 < 240u) {
        const unsigned c65 = t81 % 80u, g66 = t81 / 80u;
        const float v67 = 0.0f;
        const float v68 = param2[c65];
        float total69 = 0.0f;
        for (unsigned s71 = g66; s71 < count1; s71 += 3u) {
            float sum72 = 0.0f;
            for (unsigned r70 = ends2[s71] - first2, stop = ends2[s71 + 1u] - first2; r70 < stop; ++r70) {
                const float v73 = tile79[r70 * 84u + c65];
                const float v74 = tile78[r70 * 84u + c65];
                const float v75 = v73 != 0.0f ? v74 : v67;
                const float v76 = v73 != 0.0f ? v67 : v74;
                const float v77 = v76 * v68;
                const float v78 = v75 + v77;
                const float v79 = b12[r70 * 80u + c65];
                const float v80 = v76 * v79;
                sum72 = sum72 + v78;
                total69 = total69 + v80;
                tile80[r70 * 84u + c65] = v78;
            }
            b82[s71 * 80u + c65] = float(b82[s71 * 80u + c65]) + sum72;
        }
        sums82[t81] = total69;
    }
    din_barrier();
    din_join_groups<80, 3, DinAdd>(sums82 + 0u, partial99 + 0u);
    // std.layer:8:5: gradients of a folded product by 96 x 80
    din_times_samples<48, 52, 48, 52>(count2, tile74, b6, sample2, first1, products83);
    din_barrier();
    din_outer<48, 80, 8, 4>(count2, DinMatrix<52, 4>{tile74}, DinMatrix<84, 4>{tile80}, DinStoreFirst<80, 4>{partial100, first_tile});
    din_outer<48, 80, 8, 4>(count2, DinMatrix<52, 4>{products83}, DinMatrix<84, 4>{tile80}, DinStoreFirst<80, 4>{partial100 + 3840u, first_tile});
    din_barrier();
    din_product<80, 48, 6, 3>(count2, DinRows<84, 4>{tile80}, DinMatrix<96, 4>{b73 + 48u}, DinStore<52, 4>{products84});
    din_barrier();
    din_sum_entries<48, 52, 52, 48>(count1, ends2, first2, products84, tile74, b91);
    // din.din:34:21: folded product by 96 x 80, transposed
    din_barrier();
    din_product<80, 48, 6, 3>(count2, DinRows<84, 4>{tile80}, DinMatrix<96, 4>{b73}, DinStoreWith<52, 52, 48, 4>{tile92, products84, b6, sample2, first1});
    // std.attention:14:9: train.24.gather_multiply
    din_barrier();
    const unsigned t94 = din_thread();
    if (t94 < 240u) {
        const unsigned c85 = t94 % 48u, g86 = t94 / 48u;
        for (unsigned r87 = g86; r87 < count2; r87 += 5u) {
            const unsigned i88 = sample2[r87] - first1;
            const float v89 = b46[i88 * 128u + c85 + 32u];
            const float v90 = b18[r87];
            const float v91 = v89 * v90;
            const float v92 = tile92[r87 * 52u + c85];
            const float v93 = v91 + v92;
            b93[r87 * 48u + c85] = v93;
        }
    }
}

extern "C" DIN_KERNEL(256) din_train_5(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned tiles = scalars[3];
    const unsigned longest = scalars[4];
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 38u) + size_t(din_chunk()) * 11084u;
    din_fill<40>(copy + 0u, 0.0f);
    din_fill<40>(copy + 40u, 0.0f);
    din_fill<1>(copy + 80u, 0.0f);
    din_fill<80>(copy + 3324u, 0.0f);
    const DinPtr<float> spill = scratch + (size_t(din_instance()) * 256u + din_chunk()) * (0u + size_t(longest) * 485u);
    const DinPtr<const unsigned> bounds = din_pointer<const unsigned>(pointers, 66u);
    const DinPtr<const unsigned> offsets = din_pointer<const unsigned>(pointers, 24u);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = bounds[tile];
        const unsigned count1 = bounds[tile + 1] - first1;
        const unsigned first2 = offsets[first1];
        const unsigned count2 = offsets[first1 + count1] - first2;
        if (count2 <= 48u) {
            din_train_5_tile<true>(pointers, scalars, first1, count1, first2, count2, spill, longest, copy, tile == begin);
        } else {
            din_train_5_tile<false>(pointers, scalars, first1, count1, first2, count2, spill, longest, copy, tile == begin);
        }
        din_barrier();
    }
}

// Phase 5: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_5_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned chunks = din_min(scalars[3], 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 38u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b86 = din_pointer<float>(pointers, 70u);
    const DinPtr<float> b87 = din_pointer<float>(pointers, 71u);
    const DinPtr<float> b90 = din_pointer<float>(pointers, 72u);
    const DinPtr<float> b89 = din_pointer<float>(pointers, 73u);
    const DinPtr<float> b85 = din_pointer<float>(pointers, 74u);
    const DinPtr<float> b83 = din_pointer<float>(pointers, 75u);
    const DinPtr<float> b81 = din_pointer<float>(pointers, 76u);
    din_join_copies<40, 11084, 0>(chunks, copies + 0u, sums, b86);
    din_join_copies<40, 11084, 2>(chunks, copies + 40u, sums, b87);
    din_join_copies<1, 11084, 4>(chunks, copies + 80u, sums, b90);
    din_join_copies<40, 11084, 5>(chunks, copies + 84u, sums, b89);
    din_join_copies<3200, 11084, 7>(chunks, copies + 124u, sums, b85);
    din_join_copies<80, 11084, 107>(chunks, copies + 3324u, sums, b83);
    din_join_copies<7680, 11084, 110>(chunks, copies + 3404u, sums, b81);
}

// Phase 6, tiles of 16 samples.
extern "C" DIN_KERNEL(256) din_train_6(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned elements = scalars[0];
    const unsigned tiles = (elements + 15u) / 16u;
    const unsigned chunks = din_min(tiles, 256u);
    if (din_chunk() >= chunks) return;
    const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);
    const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);
    const DinPtr<float> copy = din_pointer<float>(pointers, 38u) + size_t(din_chunk()) * 3920u;
    din_fill<80>(copy + 0u, 0.0f);
    for (unsigned tile = begin; tile < end; ++tile) {
        const unsigned first1 = tile * 16u;
        const unsigned count1 = din_min(elements - first1, 16u);
        const bool first_tile = tile == begin;
        const DinPtr<float> table0 = din_pointer<float>(pointers, 14u);
        const DinPtr<const unsigned> rows0_2 = din_pointer<const unsigned>(pointers, 15u) + first1;
        const DinPtr<float> table1 = din_pointer<float>(pointers, 16u);
        const DinPtr<const unsigned> rows1_3 = din_pointer<const unsigned>(pointers, 17u) + first1;
        const DinPtr<float> table2 = din_pointer<float>(pointers, 18u);
        const DinPtr<const unsigned> rows2_4 = din_pointer<const unsigned>(pointers, 19u) + first1;
        const DinPtr<float> tile102 = din_shared() + 0u;
        const DinPtr<float> b82 = din_pointer<float>(pointers, 67u) + size_t(first1) * 80u;
        const DinPtr<float> partial107 = copy + 0u;
        const DinPtr<float> sums17 = din_shared() + 1664u;
        const DinPtr<float> b101 = din_pointer<float>(pointers, 13u);
        const DinPtr<float> tile105 = din_shared() + 832u;
        const DinPtr<float> b46 = din_pointer<float>(pointers, 55u) + size_t(first1) * 128u;
        const DinPtr<float> b91 = din_pointer<float>(pointers, 68u) + size_t(first1) * 48u;
        const DinPtr<float> b106 = din_pointer<float>(pointers, 77u) + size_t(first1) * 48u;
        const DinPtr<float> partial108 = copy + 80u;
        // din.din:33:21: train.2.gather
        const unsigned t10 = din_thread();
        {
            const unsigned c1 = t10 % 16u, g2 = t10 / 16u;
            for (unsigned r3 = g2; r3 < count1; r3 += 16u) {
                const unsigned i4 = rows0_2[r3];
                const float v5 = table0[size_t(i4) * 16u + c1];
                const unsigned i6 = rows1_3[r3];
                const float v7 = table1[size_t(i6) * 16u + c1];
                const unsigned i8 = rows2_4[r3];
                const float v9 = table2[size_t(i8) * 16u + c1];
                tile102[r3 * 52u + c1] = v5;
                tile102[r3 * 52u + c1 + 16u] = v7;
                tile102[r3 * 52u + c1 + 32u] = v9;
            }
        }
        // std.layer:8:5: train.25.sum
        const unsigned t16 = din_thread();
        if (t16 < 240u) {
            const unsigned c11 = t16 % 80u, g12 = t16 / 80u;
            float total13 = 0.0f;
            for (unsigned r14 = g12; r14 < count1; r14 += 3u) {
                const float v15 = b82[r14 * 80u + c11];
                total13 = total13 + v15;
            }
            sums17[t16] = total13;
        }
        din_barrier();
        din_join_groups<80, 3, DinAdd>(sums17 + 0u, partial107 + 0u);
        // std.layer:8:5: product by 80 x 48
        din_product<80, 48, 4, 2>(count1, DinRows<80, 4>{b82}, DinMatrix<48, 4>{b101}, DinStore<52, 4>{tile105});
        // din.din:33:21: train.26.copy
        din_barrier();
        const unsigned t26 = din_thread();
        if (t26 < 240u) {
            const unsigned c18 = t26 % 48u, g19 = t26 / 48u;
            for (unsigned r20 = g19; r20 < count1; r20 += 5u) {
                const float v21 = b46[r20 * 128u + c18 + 80u];
                const float v22 = tile105[r20 * 52u + c18];
                const float v23 = v21 + v22;
                const float v24 = b91[r20 * 48u + c18];
                const float v25 = v23 + v24;
                b106[r20 * 48u + c18] = v25;
            }
        }
        // std.layer:8:5: gradient of a weight, 48 x 80
        din_outer<48, 80, 8, 4>(count1, DinMatrix<52, 4>{tile102}, DinMatrix<80, 4>{b82}, DinStoreFirst<80, 4>{partial108, first_tile});
        din_barrier();
    }
}

// Phase 6: the chunks' partial sums, joined pairwise.
extern "C" DIN_KERNEL(256) din_train_6_join(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const unsigned chunks = din_min((scalars[0] + 15u) / 16u, 256u);
    const DinPtr<float> copies = din_pointer<float>(pointers, 38u);
    const DinPtr<float> sums = din_shared() + 0u;
    const DinPtr<float> b104 = din_pointer<float>(pointers, 78u);
    const DinPtr<float> b103 = din_pointer<float>(pointers, 79u);
    din_join_copies<80, 3920, 0>(chunks, copies + 0u, sums, b104);
    din_join_copies<3840, 3920, 3>(chunks, copies + 80u, sums, b103);
}

// Phase 7, one element.
extern "C" DIN_KERNEL(256) din_train_7(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 81u;
    scalars += din_instance() * 5u;
    const DinPtr<float> b81 = din_pointer<float>(pointers, 76u);
    const DinPtr<float> b103 = din_pointer<float>(pointers, 79u);
    const DinPtr<float> b109 = din_pointer<float>(pointers, 80u);
    // std.layer:8:5: train.27.copy
    for (unsigned c1 = din_chunk() * 256u + din_thread(); c1 < 3840u; c1 += din_chunks() * 256u) {
        const float v2 = b81[c1];
        const float v3 = b103[c1];
        const float v4 = v2 - v3;
        const float v5 = b81[c1 + 3840u];
        b109[c1] = v2;
        b109[c1 + 3840u] = v3;
        b109[c1 + 7680u] = v4;
        b109[c1 + 11520u] = v5;
    }
}

// Phase 0, one element.
extern "C" DIN_KERNEL(256) din_update0_0(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 9u;
    scalars += din_instance() * 1u;
    const DinPtr<float> step = din_pointer<float>(pointers, 0u);
    const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
    const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
    // std.optimizer:30:38: adam + adaptive.33.multiply
    if (din_thread() == 0u) {
        const double v1 = 0.9;
        const double v2 = double(float(step[0]));
        const double v3 = din_pow(v1, v2);
        const double v4 = 1.0;
        const double v5 = v4 - v3;
        const double v6 = v4 / v5;
        const double v7 = 0.001;
        const double v8 = v6 * v7;
        const double v9 = 0.999;
        const double v10 = din_pow(v9, v2);
        const double v11 = v4 - v10;
        const double v12 = v4 / v11;
        b0[0] = float(v8);
        b1[0] = float(v12);
    }
}

// Phase 1, tiles of 64 samples.
extern "C" DIN_KERNEL(256) din_update0_1(DinPointers pointers, DinScalars scalars, DinPtr<float> scratch)
{
    pointers += din_instance() * 9u;
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
        const DinPtr<float> row_count = din_pointer<float>(pointers, 3u);
        const DinPtr<const unsigned> row_index = din_pointer<const unsigned>(pointers, 4u) + first1;
        const DinPtr<float> tile3 = din_shared() + 0u;
        const DinPtr<float> slot0 = din_pointer<float>(pointers, 5u);
        const DinPtr<float> weight = din_pointer<float>(pointers, 6u);
        const DinPtr<float> gradient = din_pointer<float>(pointers, 7u) + size_t(first1) * 16u;
        const DinPtr<float> b0 = din_pointer<float>(pointers, 1u);
        const DinPtr<float> slot1 = din_pointer<float>(pointers, 8u);
        const DinPtr<float> b1 = din_pointer<float>(pointers, 2u);
        // std.regularizer:11:46: adam + adaptive.34.gather
        const unsigned t8 = din_thread();
        {
            const unsigned g2 = t8;
            const float v3 = 0.01f;
            for (unsigned r4 = g2; r4 < count1; r4 += 256u) {
                const unsigned i5 = row_index[r4];
                const float v6 = row_count[i5];
                const float v7 = v3 / v6;
                tile3[r4] = v7;
            }
        }
        // std.optimizer:28:9: adam + adaptive.35.gather_multiply_sqrt
        din_barrier();
        const unsigned t40 = din_thread();
        {
            const unsigned c9 = t40 % 16u, g10 = t40 / 16u;
            const float v11 = 0.9f;
            const float v12 = 0.1f;
            const float v13 = b0[0];
            const float v14 = 0.999f;
            const float v15 = 0.001f;
            const float v16 = b1[0];
            const float v17 = 1e-8f;
            for (unsigned r18 = g10; r18 < count1; r18 += 16u) {
                const unsigned i19 = row_index[r18];
                const float v20 = slot0[size_t(i19) * 16u + c9];
                const float v21 = v20 * v11;
                const float v22 = tile3[r18];
                const float v23 = weight[size_t(i19) * 16u + c9];
                const float v24 = v22 * v23;
                const float v25 = gradient[r18 * 16u + c9];
                const float v26 = v25 + v24;
                const float v27 = v26 * v12;
                const float v28 = v21 + v27;
                const float v29 = v28 * v13;
                const float v30 = slot1[size_t(i19) * 16u + c9];
                const float v31 = v30 * v14;
                const float v32 = v26 * v15;
                const float v33 = v32 * v26;
                const float v34 = v31 + v33;
                const float v35 = v34 * v16;
                const float v36 = din_sqrt(v35);
                const float v37 = v36 + v17;
                const float v38 = v29 / v37;
                const float v39 = v23 - v38;
                weight[size_t(i19) * 16u + c9] = v39;
                slot0[size_t(i19) * 16u + c9] = v28;
                slot1[size_t(i19) * 16u + c9] = v34;
            }
        }
        din_barrier();
    }
}

