//! The small models of `din_tests::specs` leave nothing of the standard library out.

use din_compiler::front::library_sources;
use din_tests::specs::{ACTIVATED, BLOCKS, LISTS, POOLED, RECURRENT, SPECS};

pub use din_tests::specs::{checked, units};

/// What is added to the library must be added here.
#[test]
fn nothing_of_the_library_is_left_out() {
    for (file, text) in library_sources() {
        let module = file.trim_start_matches("std.");
        let kind = match module {
            "activation" | "attention" | "interaction" | "layer" | "pooling" | "recurrent" => "fn ",
            "optimizer" => "optimizer ",
            "regularizer" => "regularizer ",
            _ => continue,
        };
        for name in text.lines().filter_map(|l| l.strip_prefix(kind)).filter_map(|l| l.split('(').next()) {
            let call = format!("{name}(");
            let called = |s: &&str| s.contains(&call) || s.contains(&format!("activation = {name}"));
            let in_spec = SPECS.iter().any(|(_, o, t, _)| called(o) || called(t));
            assert!(
                in_spec || [ACTIVATED, POOLED, LISTS, BLOCKS, RECURRENT].iter().any(called),
                "{file}.{name} is in no unit"
            );
        }
    }
}
