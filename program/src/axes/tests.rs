use super::*;

/// Every axis that can be: lists in lists, pairs, requests and distinct rows.
fn all_kinds() -> (AxisTree, [AxisId; 8]) {
    let mut axes = AxisTree::new("batch");
    let visits = axes.add_sequence("visits", 0, BATCH);
    let items = axes.add_sequence("items", 1, visits);
    let [second, pairs] = axes.add_pairs(items, "others");
    let common = axes.add_sequence("history", 2, BATCH);
    let request = axes.add_requests(&[common]);
    let entries = axes.shared(common).expect("it is common");
    let unique = axes.add_unique(UniqueKeys { over: items, keys: vec![(0, 0)] });
    axes.check().expect("a tree");
    (axes, [visits, items, second, pairs, common, request, entries, unique])
}

#[test]
fn ancestors_are_those_on_every_way_up() {
    let (axes, [visits, items, second, pairs, common, request, entries, unique]) = all_kinds();
    let above = |of: AxisId| -> Vec<AxisId> { axes.ids().filter(|&to| axes.is_indexed(of, to)).collect() };
    assert_eq!(above(BATCH), [request]);
    assert_eq!(above(visits), [BATCH, request]);
    assert_eq!(above(items), [BATCH, visits, request, unique]);
    assert_eq!(above(second), [BATCH, visits, request]);
    assert_eq!(above(pairs), [BATCH, visits, items, second, request, unique]);
    assert_eq!(above(common), [BATCH, request, entries]);
    assert_eq!(above(entries), [request]);
    assert_eq!(above(unique), []);
    assert_eq!(axes.join(visits, request), Some(visits));
    assert_eq!(axes.join(BATCH, entries), Some(common));
    assert_eq!(axes.join(visits, common), None);
    assert_eq!([axes.join(items, second), axes.join(second, unique)], [Some(pairs); 2]);
    assert_eq!(axes.join(unique, pairs), Some(pairs));
}

#[test]
fn tiles_and_segment_sums_follow_the_owners() {
    let (axes, [visits, items, second, pairs, common, request, entries, unique]) = all_kinds();
    let tiles = [GLOBAL, visits, items, second, pairs, common, request, entries, unique].map(|d| axes.tile_axis(d));
    assert_eq!(tiles, [BATCH, BATCH, BATCH, BATCH, BATCH, BATCH, request, request, unique]);
    let sources = [BATCH, visits, request, entries, unique].map(|d| axes.segment_source(d));
    assert_eq!(sources, [None, None, Some(BATCH), Some(common), Some(items)]);
    assert_eq!([entries, common, items].map(|d| axes.on_samples(d)), [common, common, items]);
}

#[test]
fn the_samples_of_a_request_pair() {
    let mut axes = AxisTree::new("batch");
    let visits = axes.add_sequence("visits", 0, BATCH);
    let request = axes.add_requests(&[]);
    let [second, pairs] = axes.add_pairs(BATCH, "other");
    axes.check().expect("a tree");
    let above = |of: AxisId| -> Vec<AxisId> { axes.ids().filter(|&to| axes.is_indexed(of, to)).collect() };
    assert_eq!(above(second), [request]);
    assert_eq!(above(pairs), [BATCH, request, second]);
    assert_eq!(axes.join(BATCH, second), Some(pairs));
    assert_eq!(axes.join(request, second), Some(second));
    assert_eq!(axes.join(visits, second), None);
    assert_eq!([BATCH, second, pairs].map(|d| axes.tile_axis(d)), [BATCH; 3]);
    assert_eq!((axes.sharers(request), axes.segment_source(request)), (Some(BATCH), Some(BATCH)));
    assert_eq!([BATCH, visits, request].map(|d| axes.lists(d)), [Some(request), Some(BATCH), None]);

    // Without requests there is nothing within which samples could pair.
    let mut alone = AxisTree::new("batch");
    alone.add_pairs(BATCH, "other");
    assert!(alone.check().is_err());
}

/// The steps of a sequence have its entries, and are below nothing that these are not below: what
/// lies above both of two axes lies above their steps as well.
#[test]
fn steps_are_no_other_place_to_join() {
    let (mut axes, [visits, .., common, request, entries, _]) = all_kinds();
    let joins = |axes: &AxisTree| [axes.join(BATCH, entries), axes.join(visits, request), axes.join(visits, common)];
    let before = joins(&axes);
    let steps = axes.add_steps(common);
    axes.check().expect("a tree");
    assert_eq!(joins(&axes), before);
    assert_eq!([axes.join(steps, BATCH), axes.join(entries, steps)], [Some(steps); 2]);
}

#[test]
fn lists_of_one_length_lie_under_the_samples() {
    let mut axes = AxisTree::new("batch");
    let visits = axes.add_sequence("visits", 0, BATCH);
    let request = axes.add_requests(&[]);
    let fields = axes.add_fixed("fields", 7);
    let [second, pairs] = axes.add_pairs(fields, "others");
    axes.check().expect("a tree");
    let above = |of: AxisId| -> Vec<AxisId> { axes.ids().filter(|&to| axes.is_indexed(of, to)).collect() };
    assert_eq!(above(fields), [BATCH, request]);
    assert_eq!(above(pairs), [BATCH, request, fields, second]);
    assert_eq!([axes.join(fields, second), axes.join(fields, visits)], [Some(pairs), None]);
    assert_eq!([fields, second, pairs].map(|d| axes.tile_axis(d)), [BATCH; 3]);
    assert_eq!([fields, second, pairs, visits].map(|d| axes.fixed(d)), [Some(7), Some(7), None, None]);
    assert_eq!([fields, second, pairs, visits].map(|d| axes.may_be_empty(d)), [false, false, false, true]);

    axes.get_mut(fields).expect("it is there").kind = AxisKind::Fixed { size: 0 };
    assert!(axes.check().is_err());
}

#[test]
fn what_is_no_tree_is_refused() {
    let (good, [visits, items, second, pairs, common, _, entries, unique]) = all_kinds();
    let wrong: [(AxisId, AxisKind); 13] = [
        (GLOBAL, AxisKind::Request),
        (BATCH, AxisKind::Batch { request: Some(visits) }),
        (visits, AxisKind::Batch { request: None }),
        (visits, AxisKind::Request),
        (visits, AxisKind::Sequence { sequence: 0, parent: items, shared: None }),
        (visits, AxisKind::Sequence { sequence: 0, parent: GLOBAL, shared: None }),
        (visits, AxisKind::Sequence { sequence: 2, parent: BATCH, shared: Some(entries) }),
        (common, AxisKind::Sequence { sequence: 2, parent: BATCH, shared: Some(visits) }),
        (second, AxisKind::Second { of: BATCH }),
        (second, AxisKind::Second { of: pairs }),
        (pairs, AxisKind::Pairs { of: items, second: items }),
        (pairs, AxisKind::Pairs { of: visits, second }),
        (unique, AxisKind::Unique(UniqueKeys { over: AxisId(99), keys: vec![(0, 0)] })),
    ];
    for (at, kind) in wrong {
        let mut axes = good.clone();
        axes.get_mut(at).expect("it is there").kind = kind.clone();
        assert!(axes.check().is_err(), "{} as {kind:?}", at.0);
    }
}
