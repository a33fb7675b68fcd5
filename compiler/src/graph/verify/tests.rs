//! A sound graph with one bug planted: `verify` must find it, at its node, by its rule.
use super::*;
use crate::graph::{AxisKind, InputId, ParamId, StateId, TableId};

const SOUND: &str = "axis batch = batch
axis visited = sequence 0 under batch
axis clicked = sequence 1 under batch
input 0 \"visited.good\": ids 0 of 0 : visited [1]
input 1 \"price\": dense 1 : batch [3]
input 2 \"step\": step : global [1]
table 0 [4]
param 0 [4, 2]
state 0 [2]
%0 = lookup(0, 0) : visited [4] @0:10..12
%1 = param(0) : global [4, 2] @0:20..22
%2 = matmul(%0, %1) : visited [2] @0:30..32
%3 = sum(%2, batch) : batch [2] @0:40..42
%4 = input(1) : batch [3] @0:50..52
%5 = concat(%3, %4) : batch [5] @0:60..62
%6 = slice(%5, 4) : batch [1] @0:70..72
%7 = length(visited) : batch [1] @0:80..82
%8 = less(%6, %7) : batch [1] @0:90..92
%9 = select(%8, %6, %7) : batch [1] @0:95..96
%10 = moments(%2) : global [4] @0:100..102
%11 = slice(%10, 2) : global [2] @0:110..112
%12 = sum(%9, global) : global [1] @0:120..122
%13 = outer(%0, %3) : global [4, 2] @0:130..132
%14 = count(clicked) : global [1] @0:140..142
root loss %12
root prediction 0 %6
root state 0 %11
root param_gradient 0 %13
root row_gradient 0 0 %0
root named \"count\" %14
";

fn sound() -> Graph {
    let graph: Graph = SOUND.parse().unwrap();
    verify(&graph).unwrap();
    graph
}

/// Plants a bug at node `at` and gives the broken rule, which must name that node and its span.
fn planted(at: usize, bug: impl FnOnce(&mut Node)) -> String {
    let mut graph = sound();
    let id = NodeId::new(at);
    bug(&mut graph.nodes[id]);
    let error = verify(&graph).unwrap_err();
    assert_eq!(error.node, Some(id), "{error}");
    assert_eq!(error.span, graph.node(id).span);
    error.rule
}

#[test]
fn types_that_the_operands_do_not_give() {
    assert_eq!(planted(0, |n| n.shape = Shape::vector(5)), "has shape [5], its operands give [4]");
    assert_eq!(planted(0, |n| n.axis = BATCH), "has axis 1, its operands give 2");
    assert_eq!(planted(1, |n| n.shape = Shape::matrix(2, 4)), "has shape [2, 4], its operands give [4, 2]");
    assert_eq!(planted(2, |n| n.op = Op::MatMulT), "operand 0 must have shape [2], has [4]");
    assert_eq!(planted(3, |n| n.op = Op::Sum { to: AxisId(3) }), "reduces from axis 2 to 3, which is not above it");
    assert_eq!(planted(3, |n| n.op = Op::Sum { to: AxisId(9) }), "axis 9 does not exist");
    assert_eq!(planted(5, |n| n.shape = Shape::vector(6)), "has shape [6], its operands give [5]");
    assert_eq!(planted(6, |n| n.op = Op::Slice { start: 5 }), "components 5..6 of an operand of width 5");
    assert_eq!(planted(7, |n| n.op = Op::Length(GLOBAL)), "the global axis lies under no element");
    assert_eq!(planted(8, |n| n.axis = AxisId(7)), "axis 7 does not exist");
    assert_eq!(planted(10, |n| n.axis = BATCH), "has axis 1, its operands give 0");
    assert_eq!(planted(13, |n| n.shape = Shape::matrix(2, 4)), "has shape [2, 4], its operands give [4, 2]");
    assert_eq!(planted(14, |n| n.shape = Shape(Default::default())), "shape [] is not of rank 1 or 2");
    assert_eq!(planted(14, |n| n.shape = Shape::vector(0)), "shape [0] has an empty axis");
    assert_eq!(planted(3, |n| n.shape = Shape::matrix(1, 2)), "a matrix [1, 2] must live on the global axis");
}

#[test]
fn ids_out_of_range() {
    assert_eq!(planted(1, |n| n.op = Op::Param(ParamId(1))), "parameter 1 is out of range, there are 1");
    assert_eq!(planted(1, |n| n.op = Op::State(StateId(3))), "state 3 is out of range, there are 1");
    assert_eq!(planted(4, |n| n.op = Op::Input(InputId(3))), "input 3 is out of range, there are 3");
    assert_eq!(planted(4, |n| n.op = Op::Input(InputId(0))), "ids may be read by lookups only");
    let lookup = |table, input| Op::Lookup { table: TableId(table), input: InputId(input) };
    assert_eq!(planted(0, |n| n.op = lookup(1, 0)), "table 1 is out of range, there are 1");
    assert_eq!(planted(0, |n| n.op = lookup(0, 1)), "a lookup must read ids");
}

#[test]
fn operands_and_edges() {
    assert_eq!(planted(3, |n| n.operands.clear()), "its edges do not mirror its operands");
    assert_eq!(planted(5, |n| n.operands.reverse()), "its edges do not mirror its operands");
    assert_eq!(planted(5, |n| n.operands.push(NodeId::new(99))), "operand 99 does not exist");
    // The bug is in the edges, not in the operands.
    let mut graph = sound();
    let edge = graph.nodes.find_edge(NodeId::new(0), NodeId::new(2)).unwrap();
    graph.nodes[edge] = 1;
    assert_eq!(verify(&graph).unwrap_err().rule, "its edges do not mirror its operands");
    let mut graph = sound();
    graph.nodes.add_edge(NodeId::new(4), NodeId::new(6), 1);
    assert_eq!(verify(&graph).unwrap_err().node, Some(NodeId::new(6)));
    // The count is wrong although the edges agree.
    for (at, rule) in [(6, "takes 1 operands, has 2"), (12, "takes 1 operands, has 2"), (7, "takes 0 operands, has 1")]
    {
        let mut graph = sound();
        let position = graph.nodes[NodeId::new(at)].operands.len() as u32;
        graph.nodes[NodeId::new(at)].operands.push(NodeId::new(4));
        graph.nodes.add_edge(NodeId::new(4), NodeId::new(at), position);
        let error = verify(&graph).unwrap_err();
        assert_eq!((error.node, error.rule.as_str()), (Some(NodeId::new(at)), rule));
    }
}

#[test]
fn cycles_and_unrelated_axes() {
    let mut graph = sound();
    // 3 -> 5 exists; now 5 also feeds 2, which feeds 3.
    let edge = graph.nodes.find_edge(NodeId::new(0), NodeId::new(2)).unwrap();
    graph.nodes.remove_edge(edge);
    graph.nodes.add_edge(NodeId::new(5), NodeId::new(2), 0);
    graph.nodes[NodeId::new(2)].operands[0] = NodeId::new(5);
    let error = verify(&graph).unwrap_err();
    assert_eq!(error.rule, "depends on itself");
    let text = SOUND.replace("%4 = input(1) : batch [3]", "%4 = const(1.0) : clicked [3]");
    let text = text.replace("concat(%3, %4)", "concat(%0, %4)");
    let error = verify(&text.parse().unwrap()).unwrap_err();
    assert_eq!(error.node, Some(NodeId::new(4)).map(|_| NodeId::new(5)));
    assert!(error.rule.starts_with("operands vary over unrelated axes"), "{error}");
}

#[test]
fn tables_of_the_graph() {
    for (from, to, rule) in [
        ("step : global [1]", "step : batch [1]", "input 2 is the step or epoch and must be global, [1]"),
        ("ids 0 of 0 : visited [1]", "ids 0 of 0 : visited [2]", "input 0 holds ids and must have shape [1]"),
        ("table 0 [4]", "table 0 [0]", "table 0 has width 0"),
        ("param 0 [4, 2]", "param 0 [4, 2, 1]", "parameter 0: shape [4, 2, 1] is not of rank 1 or 2"),
    ] {
        let error = verify(&SOUND.replacen(from, to, 1).parse().unwrap()).unwrap_err();
        assert_eq!((error.node, error.rule.as_str()), (None, rule));
    }
    let mut graph = sound();
    let wrong = AxisKind::Sequence { sequence: 0, parent: AxisId(3), shared: None };
    graph.axes.get_mut(AxisId(2)).unwrap().kind = wrong;
    assert!(verify(&graph).unwrap_err().rule.starts_with("axis 2 cannot be Sequence"));
}

#[test]
fn roots() {
    for (from, to, rule) in [
        ("root loss %12", "root loss %6", "must have axis 0 and shape [1], has 1 and [1]"),
        ("root prediction 0 %6", "root prediction 0 %12", "must have axis 1 and shape [1], has 0 and [1]"),
        ("root state 0 %11", "root state 1 %11", "state 1 is out of range, there are 1"),
        ("root state 0 %11", "root state 0 %10", "must have axis 0 and shape [2], has 0 and [4]"),
        ("root param_gradient 0 %13", "root param_gradient 0 %11", "must have axis 0 and shape [4, 2], has 0 and [2]"),
        ("root row_gradient 0 0 %0", "root row_gradient 0 0 %3", "must have axis 2 and shape [4], has 1 and [2]"),
        ("root named \"count\" %14", "root loss %12", "stands twice"),
    ] {
        let error = verify(&SOUND.replace(from, to).parse().unwrap()).unwrap_err();
        assert!(error.root.is_some());
        assert_eq!(error.rule, rule);
    }
    let mut graph = sound();
    *graph.roots[1].node_mut() = NodeId::new(99);
    let error = verify(&graph).unwrap_err();
    assert_eq!((error.root, error.rule.as_str()), (Some(1), "names node 99, which does not exist"));
}
