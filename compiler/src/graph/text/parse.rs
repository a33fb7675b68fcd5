//! Parses the textual form. The result has the types that the text says; `verify` checks them.

use crate::graph::{
    Axis, AxisId, AxisKind, Graph, GroupId, Input, InputId, InputKind, Node, NodeId, Op, ParamId, Root, Shape, StateId,
    TableId, UniqueKeys,
};
use din_grammar::Span;
use din_grammar::span::FileId;
use smallvec::smallvec;
use std::fmt;
use std::str::FromStr;

/// Why a text is not a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

type Parsed<T> = Result<T, String>;

impl FromStr for Graph {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Graph, ParseError> {
        let mut parser = Parser { graph: Graph::default(), labels: vec!["global".into()], axes: 1, nodes: Vec::new() };
        // Axes are named before they are defined: the batch by its requests.
        for line in text.lines() {
            if let Some(label) = line.trim().strip_prefix("axis ").and_then(|rest| rest.split_whitespace().next()) {
                parser.labels.push(label.into());
            }
        }
        for (k, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                parser.line(line).map_err(|message| ParseError { line: k + 1, message })?;
            }
        }
        Ok(parser.graph)
    }
}

struct Parser {
    graph: Graph,
    /// By axis, of the whole text.
    labels: Vec<String>,
    /// Axes that are defined so far.
    axes: usize,
    /// By number in the text.
    nodes: Vec<NodeId>,
}

/// Words, strings and single punctuation marks of a line.
struct Tokens {
    all: Vec<String>,
    at: usize,
}

impl Tokens {
    fn new(line: &str) -> Parsed<Tokens> {
        let mut all = Vec::new();
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            let mut token = String::from(c);
            if c == '"' {
                loop {
                    match chars.next().ok_or("a string without end")? {
                        '"' => break,
                        '\\' => match chars.next().ok_or("a string without end")? {
                            'n' => token.push('\n'),
                            c => token.push(c),
                        },
                        c => token.push(c),
                    }
                }
            } else if !"(),:[]@=".contains(c) {
                while let Some(&c) = chars.peek() {
                    if c.is_whitespace() || "(),:[]@=\"".contains(c) {
                        break;
                    }
                    token.push(c);
                    chars.next();
                }
            }
            all.push(token);
        }
        Ok(Tokens { all, at: 0 })
    }

    fn next(&mut self) -> Parsed<&str> {
        self.at += 1;
        self.all.get(self.at - 1).map(String::as_str).ok_or_else(|| "the line ends too early".into())
    }

    fn peek(&self) -> &str {
        self.all.get(self.at).map_or("", String::as_str)
    }

    fn expect(&mut self, mark: &str) -> Parsed<()> {
        match self.next()? {
            found if found == mark => Ok(()),
            found => Err(format!("expected `{mark}`, found `{found}`")),
        }
    }

    fn value<T: FromStr>(&mut self) -> Parsed<T> {
        let token = self.next()?;
        token.parse().map_err(|_| format!("`{token}` is not a number"))
    }

    fn string(&mut self) -> Parsed<String> {
        let token = self.next()?;
        token.strip_prefix('"').map(String::from).ok_or_else(|| format!("expected a string, found `{token}`"))
    }

    fn shape(&mut self) -> Parsed<Shape> {
        self.expect("[")?;
        let mut axes = smallvec![self.value()?];
        while self.peek() == "," {
            self.expect(",")?;
            axes.push(self.value()?);
        }
        self.expect("]")?;
        Ok(Shape(axes))
    }

    /// The next index must be the number of things before it.
    fn index(&mut self, len: usize) -> Parsed<()> {
        match self.value::<usize>()? {
            k if k == len => Ok(()),
            k => Err(format!("expected number {len}, found {k}")),
        }
    }

    fn end(&self) -> Parsed<()> {
        if self.at == self.all.len() { Ok(()) } else { Err(format!("`{}` is too much", self.peek())) }
    }
}

impl Parser {
    fn line(&mut self, line: &str) -> Parsed<()> {
        let mut t = Tokens::new(line)?;
        match t.next()? {
            "axis" => self.axis(&mut t)?,
            "input" => self.input(&mut t)?,
            "table" => {
                t.index(self.graph.tables.len())?;
                self.graph.tables.push(t.shape()?.width());
            }
            "param" => {
                t.index(self.graph.params.len())?;
                self.graph.params.push(t.shape()?);
            }
            "state" => {
                t.index(self.graph.states.len())?;
                self.graph.states.push(t.shape()?);
            }
            "root" => self.root(&mut t)?,
            node if node.starts_with('%') => {
                let expected = format!("%{}", self.nodes.len());
                if node != expected {
                    return Err(format!("expected `{expected}`, found `{node}`"));
                }
                self.node(&mut t)?;
            }
            other => return Err(format!("`{other}` begins no line")),
        }
        t.end()
    }

    fn label(&self, t: &mut Tokens) -> Parsed<AxisId> {
        let token = t.next()?;
        let at = self.labels.iter().position(|l| l == token);
        at.map(|k| AxisId(k as u32)).ok_or_else(|| format!("there is no axis `{token}`"))
    }

    fn axis(&mut self, t: &mut Tokens) -> Parsed<()> {
        let mut name = t.next()?.to_string();
        if t.peek() == "named" {
            t.expect("named")?;
            name = t.string()?;
        }
        t.expect("=")?;
        let kind = match t.next()? {
            "batch" => {
                let request = if t.peek() == "of" {
                    t.expect("of")?;
                    Some(self.label(t)?)
                } else {
                    None
                };
                AxisKind::Batch { request }
            }
            "request" => AxisKind::Request,
            "sequence" => {
                let sequence = t.value()?;
                t.expect("under")?;
                let parent = self.label(t)?;
                let shared = if t.peek() == "shared" {
                    t.expect("shared")?;
                    Some(self.label(t)?)
                } else {
                    None
                };
                AxisKind::Sequence { sequence, parent, shared }
            }
            "fixed" => AxisKind::Fixed { size: t.value()? },
            "pairs" => {
                t.expect("of")?;
                let of = self.label(t)?;
                t.expect("with")?;
                AxisKind::Pairs { of, second: self.label(t)? }
            }
            "second" => {
                t.expect("name")?;
                t.expect("of")?;
                AxisKind::Second { of: self.label(t)? }
            }
            "steps" => {
                t.expect("of")?;
                AxisKind::Steps { of: self.label(t)? }
            }
            "unique" => {
                t.expect("of")?;
                let over = self.label(t)?;
                t.expect("by")?;
                let mut keys = Vec::new();
                while t.at < t.all.len() {
                    keys.push((t.value()?, t.value()?));
                }
                AxisKind::Unique(UniqueKeys { over, keys })
            }
            other => return Err(format!("`{other}` is no kind of axis")),
        };
        let axis = Axis { name, kind };
        // A new graph has its batch already.
        match self.graph.axes.get_mut(AxisId(self.axes as u32)) {
            Some(batch) => *batch = axis,
            None => {
                self.graph.axes.push(axis);
            }
        }
        self.axes += 1;
        Ok(())
    }

    fn input(&mut self, t: &mut Tokens) -> Parsed<()> {
        t.index(self.graph.inputs.len())?;
        let name = t.string()?;
        t.expect(":")?;
        let kind = match t.next()?.to_string().as_str() {
            "ids" => {
                let feature = t.value()?;
                t.expect("of")?;
                InputKind::Ids { feature, group: GroupId(t.value()?) }
            }
            "dense" => InputKind::Dense { feature: t.value()? },
            "label" => InputKind::Label { label: t.value()? },
            "present" => InputKind::Present { label: t.value()? },
            "step" => InputKind::Step,
            "epoch" => InputKind::Epoch,
            "squared_norms" => InputKind::SquaredNorms,
            "weight" => InputKind::Weight,
            "gradient" => InputKind::Gradient,
            "slot" => InputKind::Slot { slot: t.value()? },
            "frequency" => InputKind::Frequency,
            "updates" => InputKind::UpdateCount,
            "in_batch" => InputKind::InBatch,
            other => return Err(format!("`{other}` is no kind of input")),
        };
        t.expect(":")?;
        let axis = self.label(t)?;
        let shape = t.shape()?;
        self.graph.inputs.push(Input { name, kind, axis, shape });
        Ok(())
    }

    fn reference(&self, t: &mut Tokens) -> Parsed<NodeId> {
        let token = t.next()?;
        let number: Option<usize> = token.strip_prefix('%').and_then(|n| n.parse().ok());
        let node = number.and_then(|k| self.nodes.get(k).copied());
        node.ok_or_else(|| format!("`{token}` is no node above"))
    }

    fn node(&mut self, t: &mut Tokens) -> Parsed<()> {
        t.expect("=")?;
        let name = t.next()?.to_string();
        t.expect("(")?;
        let mut operands = Vec::new();
        while t.peek().starts_with('%') {
            operands.push(self.reference(t)?);
            if t.peek() == "," {
                t.expect(",")?;
            }
        }
        let op = match name.as_str() {
            "const" => Op::Const(t.value()?),
            "input" => Op::Input(InputId(t.value()?)),
            "param" => Op::Param(ParamId(t.value()?)),
            "state" => Op::State(StateId(t.value()?)),
            "lookup" => {
                let table = TableId(t.value()?);
                t.expect(",")?;
                Op::Lookup { table, input: InputId(t.value()?) }
            }
            "length" => Op::Length(self.label(t)?),
            "position" => Op::Position(self.label(t)?),
            "sample_number" => Op::SampleNumber(self.label(t)?),
            "dropout_mask" => {
                let site = t.value()?;
                t.expect(",")?;
                Op::DropoutMask { site, rate: t.value()? }
            }
            "count" => Op::Count(self.label(t)?),
            "slice" => Op::Slice { start: t.value()? },
            "unflatten" => Op::Unflatten { to: self.label(t)? },
            "rename" => Op::Rename { to: self.label(t)? },
            "sum" => Op::Sum { to: self.label(t)? },
            "max_over" => Op::Max { to: self.label(t)? },
            "previous" | "scan" => {
                let scan = t.value()?;
                t.expect(",")?;
                let backward = match t.value()? {
                    0 => false,
                    1 => true,
                    other => return Err(format!("{other} is no direction, which is 0 or 1")),
                };
                if name == "scan" { Op::Scan { scan, backward } } else { Op::Previous { scan, backward } }
            }
            other => Op::without_attributes(other).ok_or_else(|| format!("there is no op `{other}`"))?,
        };
        if op.arity().is_some_and(|k| k != operands.len()) {
            return Err(format!("`{name}` does not take {} operands", operands.len()));
        }
        t.expect(")")?;
        t.expect(":")?;
        let axis = self.label(t)?;
        let shape = t.shape()?;
        t.expect("@")?;
        let file = FileId(t.value()?);
        t.expect(":")?;
        let range = t.next()?;
        let ends = range.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (start, end) = ends.ok_or_else(|| format!("`{range}` is no range"))?;
        let span = Span { file, start, end };
        let id = self.graph.push(Node { op, operands: operands.into(), axis, shape, span });
        self.nodes.push(id);
        Ok(())
    }

    fn root(&mut self, t: &mut Tokens) -> Parsed<()> {
        let root = match t.next()?.to_string().as_str() {
            "loss" => Root::Loss(self.reference(t)?),
            "weight" => Root::Weight(self.reference(t)?),
            "prediction" => Root::Prediction { index: t.value()?, node: self.reference(t)? },
            "output" => Root::Output { index: t.value()?, node: self.reference(t)? },
            "named" => Root::Named { name: t.string()?, node: self.reference(t)? },
            "state" => Root::State { state: StateId(t.value()?), node: self.reference(t)? },
            "param_gradient" => Root::ParamGradient { param: ParamId(t.value()?), node: self.reference(t)? },
            "row_gradient" => {
                Root::RowGradient { table: TableId(t.value()?), input: InputId(t.value()?), node: self.reference(t)? }
            }
            "slot" => Root::Slot { slot: t.value()?, node: self.reference(t)? },
            other => return Err(format!("`{other}` is no kind of root")),
        };
        self.graph.roots.push(root);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "axis batch = batch\n\
        axis d2 named \"a \\\"b\\\"\" = sequence 0 under batch\n\
        input 0 \"x.y\": ids 3 of 0 : d2 [1]\n\
        table 0 [4]\n\
        param 0 [4, 2]\n\
        %0 = lookup(0, 0) : d2 [4] @0:1..2\n\
        %1 = param(0) : global [4, 2] @1:3..9\n\
        %2 = matmul(%0, %1) : d2 [2] @0:1..2\n\
        %3 = const(-1e-8) : global [1] @0:0..0\n\
        %4 = multiply(%2, %3) : d2 [2] @0:1..2\n\
        %5 = sum(%4, batch) : batch [2] @0:1..2\n\
        %6 = slice(%5, 1) : batch [1] @0:1..2\n\
        root prediction 0 %6\n\
        root named \"sum\" %5\n";

    #[test]
    fn text_comes_back_as_it_was() {
        let graph: Graph = TEXT.parse().unwrap();
        crate::graph::verify(&graph).unwrap();
        assert_eq!(graph.text(), TEXT);
        assert_eq!(graph.axis(AxisId(2)).name, "a \"b\"");
    }

    #[test]
    fn faults_are_located() {
        for (from, to, line, message) in [
            ("%4 = multiply(%2, %3)", "%4 = multiply(%2, %9)", 10, "`%9` is no node above"),
            ("%4 = multiply(%2, %3)", "%4 = multiply(%2)", 10, "`multiply` does not take 1 operands"),
            ("%4 = multiply", "%4 = conjure", 10, "there is no op `conjure`"),
            ("%6 = slice(%5, 1)", "%6 = slice(%5, batch)", 12, "`batch` is not a number"),
            ("table 0 [4]", "table 1 [4]", 4, "expected number 0, found 1"),
            ("under batch", "under nothing", 2, "there is no axis `nothing`"),
            ("root named \"sum\" %5", "root named \"sum", 14, "a string without end"),
            ("@1:3..9", "@1:3..9 more", 7, "`more` is too much"),
        ] {
            let error = TEXT.replace(from, to).parse::<Graph>().unwrap_err();
            assert_eq!((error.line, error.message.as_str()), (line, message));
        }
    }
}
