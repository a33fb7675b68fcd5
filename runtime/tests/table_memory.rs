//! `Table::bytes_per_id` against the memory that the kernel counts. This is a process of its own,
//! so that nothing else is counted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use din_program::schema::{Init, KeyType, TableKind, TableSpec as Spec, UpdateRule};
use din_program::{SlotScope, UpdateSlot};
use din_runtime::table::Table;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn an_id_takes_the_memory_that_is_stated() {
    let spec = Spec {
        name: "good".into(),
        width: 4,
        kind: TableKind::Dynamic { key: KeyType::Int64 },
        init: Init::Normal(0.1),
        features: vec![0],
        update: 0,
        reads_frequency: true,
        update_rule: UpdateRule::Sparse,
        frozen: false,
        vectors: None,
        admission: None,
        location: "t.din:1:1".into(),
    };
    let slot = |name: &str| UpdateSlot { name: name.into(), per: SlotScope::Weight, init: 0.0 };
    let slots = [slot("m"), slot("v")];
    let (least, most) = Table::bytes_per_id(&spec, &slots).into_inner();

    let before = status("VmRSS:");
    let mut table = Table::new(&spec, &slots, 1).unwrap();
    let mut rows = Vec::new();
    // As many ids as fill an index half, then one more batch, for which it is doubled.
    let full = 1u64 << 21;
    let mut fill = |from: u64, to: u64| {
        let ids: Vec<u64> = (from..to).map(|id| id.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        for ids in ids.chunks(1 << 16) {
            table.resolve_train(ids, &mut rows).unwrap();
        }
        // What an update and the counting pass write.
        table.updates_mut().fill(1.0);
        table.frequency_mut().fill(1.0);
        table.slot_mut(0).fill(1.0);
        table.slot_mut(1).fill(1.0);
    };
    fill(0, full);
    let held = (status("VmRSS:") - before) as f64 / full as f64;
    // Without the order of the ids, 16 bytes each, which a checkpoint takes while it is written.
    let stated = (least - 16) as f64;
    assert!((stated * 0.97..stated * 1.08).contains(&held), "stated {stated}, held {held}");

    fill(full, full + (1 << 16));
    let peak = (status("VmHWM:") - before) as f64 / (full + (1 << 16)) as f64;
    assert!((most as f64 * 0.9..most as f64 * 1.05).contains(&peak), "stated {most}, peak {peak}");
}
