#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    din_tests::fuzz::csv(data);
});
