//! A verified kernel as CUDA C++: one statement per line, with descriptive names. `first1` and
//! `count1` are the tile's first sample and its number of samples, `first2` and `count2` those of
//! the entries of axis 2; `ends2` is where the entries of each sample end.

mod steps;

use super::kernel_ir::{
    Accumulation, Array, ArrayBinding, ArrayId, Column, Element, ElementKind, IndexBound, KernelIr, LocalVar,
    LoopRange, Row, Rows, Stmt, Tiles, ValueExpr, Var, VarType, Walk,
};
use super::print_call;
use crate::graph::{BinaryOp, UnaryOp};
use din_program::dropout;
use din_program::schedule::{AxisId, GLOBAL};
use std::collections::BTreeSet;
use std::fmt::Write;

const PARAMETERS: &str = "DinPointers pointers, DinScalars scalars, DinPtr<float> scratch";

struct Printer<'a> {
    kernel: &'a KernelIr,
    text: String,
    depth: usize,
    /// Variables that change.
    mutable: BTreeSet<u32>,
}

/// The kernel's text, with a blank line behind it.
pub fn print(kernel: &KernelIr) -> String {
    let mut p = Printer { kernel, text: String::new(), depth: 0, mutable: BTreeSet::new() };
    collect(&kernel.body, &mut p.mutable);
    for line in &kernel.comment {
        p.line(&format!("// {line}"));
    }
    match kernel.walk {
        Walk::Once => p.once(),
        Walk::Join { tiles } => p.join(tiles),
        Walk::Samples { unit, samples, elements, spread } => p.samples(unit, samples, elements, spread),
        Walk::Sequence { unit, axis, samples, entries, tiles, longest, bounds, offsets } => {
            p.sequence(unit, axis, (samples, entries), [tiles, longest, bounds, offsets]);
        }
        Walk::Steps { unit, axis, samples, elements, longest, offsets, steps, tiles } => {
            p.steps(unit, axis, samples, [elements, longest, offsets, steps, tiles]);
        }
    }
    p.text.push('\n');
    p.text
}

fn collect(body: &[Stmt], mutable: &mut BTreeSet<u32>) {
    for s in body {
        match s {
            Stmt::Accumulate { to, .. } => {
                mutable.insert(to.0);
            }
            Stmt::For { body, .. }
            | Stmt::Split { body, .. }
            | Stmt::Steps { body, .. }
            | Stmt::Single { body, .. }
            | Stmt::FirstLane { body } => collect(body, mutable),
            Stmt::Comment(_)
            | Stmt::Let { .. }
            | Stmt::Store { .. }
            | Stmt::AccumulateInto { .. }
            | Stmt::Barrier
            | Stmt::Call(_) => {}
        }
    }
}

/// Whether the entries of single samples are walked.
fn ends(body: &[Stmt]) -> bool {
    body.iter().any(|s| match s {
        Stmt::For { range: LoopRange::Entries { .. }, .. } => true,
        Stmt::For { body, .. }
        | Stmt::Split { body, .. }
        | Stmt::Steps { body, .. }
        | Stmt::Single { body, .. }
        | Stmt::FirstLane { body } => ends(body),
        Stmt::Call(call) => call.needs_ends(),
        Stmt::Let { value: ValueExpr::Paired { .. }, .. } => true,
        Stmt::Comment(_)
        | Stmt::Let { .. }
        | Stmt::Accumulate { .. }
        | Stmt::Store { .. }
        | Stmt::AccumulateInto { .. }
        | Stmt::Barrier => false,
    })
}

/// Whether a tile buffer lies in scratch where the tile is long.
fn moves(kernel: &KernelIr, a: &Array) -> bool {
    let entries = matches!(a.rows, Rows::Local(d) if Some(d) == kernel.walk.under());
    entries && matches!(a.binding, ArrayBinding::Slot { shared: Some(_), .. })
}

/// Elements of an axis in the tile.
pub fn count(axis: AxisId) -> String {
    if axis == GLOBAL { "1u".into() } else { format!("count{}", axis.0) }
}

/// A number of the type, exactly.
pub fn number(x: f64, double: bool) -> String {
    let kind = if double { "double" } else { "float" };
    if x.is_nan() {
        return format!("{kind}(din_nan())");
    }
    if x.is_infinite() || (!double && (x as f32).is_infinite()) {
        return format!("{kind}({}din_infinity())", if x < 0.0 { "-" } else { "" });
    }
    if double { format!("{x:?}") } else { format!("{:?}f", x as f32) }
}

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{:1$}{text}", "", 4 * self.depth);
    }

    fn open(&mut self, text: &str) {
        self.line(&format!("{text} {{"));
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }

    /// The kernel itself: what every block does first.
    fn entry(&mut self) {
        let (k, (a, w)) = (self.kernel, self.kernel.strides);
        self.line(&format!("extern \"C\" DIN_KERNEL({}) {}({PARAMETERS})", k.threads, k.name));
        self.line("{");
        self.depth += 1;
        self.line(&format!("pointers += din_instance() * {a}u;"));
        self.line(&format!("scalars += din_instance() * {w}u;"));
    }

    /// The block's copies at their start.
    fn copies(&mut self) {
        let Some((address, numbers)) = self.kernel.copies else {
            return;
        };
        self.line(&format!(
            "const DinPtr<float> copy = din_pointer<float>(pointers, {address}u) + size_t(din_chunk()) * {numbers}u;"
        ));
        let filled = self.kernel.partials.iter().filter(|p| !p.stored);
        for p in filled.clone() {
            let start = number(f64::from(p.start), false);
            self.line(&format!("din_fill<{}>(copy + {}u, {start});", p.width, p.offset));
        }
        if self.kernel.begin_barrier && filled.count() > 0 {
            self.line("din_barrier();");
        }
    }

    fn once(&mut self) {
        self.entry();
        self.copies();
        self.arrays();
        self.statements(&self.kernel.body);
        self.close();
    }

    fn join(&mut self, tiles: Tiles) {
        self.entry();
        let tiles = match tiles {
            Tiles::One => "1u".into(),
            Tiles::Samples { samples, elements, spread: true } => {
                let chunks = self.kernel.chunks;
                format!("din_tiles(scalars[{elements}], din_adaptive_tile(scalars[{elements}], {chunks}u, {samples}u))")
            }
            Tiles::Samples { samples, elements, spread: false } => {
                format!("(scalars[{elements}] + {}u) / {samples}u", samples.saturating_sub(1))
            }
            Tiles::Word(number) => format!("scalars[{number}]"),
        };
        self.line(&format!("const unsigned chunks = din_min({tiles}, {}u);", self.kernel.chunks));
        self.arrays();
        self.statements(&self.kernel.body);
        self.close();
    }

    fn samples(&mut self, unit: AxisId, samples: u32, elements: u32, spread: bool) {
        let u = unit.0;
        self.entry();
        self.line(&format!("const unsigned elements = scalars[{elements}];"));
        let each = if spread { "each".into() } else { format!("{samples}u") };
        if spread {
            let chunks = self.kernel.chunks;
            self.line(&format!("const unsigned each = din_adaptive_tile(elements, {chunks}u, {samples}u);"));
            self.line("const unsigned tiles = din_tiles(elements, each);");
        } else {
            self.line(&format!("const unsigned tiles = (elements + {}u) / {samples}u;", samples.saturating_sub(1)));
        }
        self.chunk();
        self.copies();
        self.spill(samples, false);
        self.open("for (unsigned tile = begin; tile < end; ++tile)");
        self.line(&format!("const unsigned first{u} = tile * {each};"));
        self.line(&format!("const unsigned count{u} = din_min(elements - first{u}, {each});"));
        if self.kernel.needs_first_tile() {
            self.line("const bool first_tile = tile == begin;");
        }
        self.arrays();
        self.statements(&self.kernel.body);
        self.again();
        self.close();
        self.close();
    }

    fn sequence(
        &mut self,
        unit: AxisId,
        axis: AxisId,
        (samples, entries): (u32, u32),
        [tiles, longest, bounds, offsets]: [u32; 4],
    ) {
        let (k, u, d) = (self.kernel, unit.0, axis.0);
        let slots = k.arrays.iter().any(|a| moves(k, a));
        let first_tile = if k.needs_first_tile() { ", bool first_tile" } else { "" };
        let copy = if k.copies.is_some() { ", DinPtr<float> copy" } else { "" };
        let size = if k.scratch == (0, 0) { String::new() } else { ", DinPtr<float> spill, unsigned longest".into() };
        if slots {
            self.line("template <bool Short>");
        }
        self.line(&format!(
            "DIN_TILE void {}_tile(DinPointers pointers, DinScalars scalars, unsigned first{u}, unsigned count{u}, unsigned first{d}, unsigned count{d}{size}{copy}{first_tile})",
            k.name
        ));
        self.line("{");
        self.depth += 1;
        if ends(&k.body) {
            self.line(&format!(
                "const DinPtr<const unsigned> ends{d} = din_pointer<const unsigned>(pointers, {offsets}u) + first{u};"
            ));
        }
        self.arrays();
        self.statements(&k.body);
        self.close();
        self.line("");
        self.entry();
        self.line(&format!("const unsigned tiles = scalars[{tiles}];"));
        if k.scratch != (0, 0) {
            self.line(&format!("const unsigned longest = scalars[{longest}];"));
        }
        self.chunk();
        self.copies();
        self.spill(samples, true);
        self.indices("bounds", bounds);
        self.indices("offsets", offsets);
        self.open("for (unsigned tile = begin; tile < end; ++tile)");
        self.line(&format!("const unsigned first{u} = bounds[tile];"));
        self.line(&format!("const unsigned count{u} = bounds[tile + 1] - first{u};"));
        self.line(&format!("const unsigned first{d} = offsets[first{u}];"));
        self.line(&format!("const unsigned count{d} = offsets[first{u} + count{u}] - first{d};"));
        let size = if k.scratch == (0, 0) { "" } else { ", spill, longest" };
        let copy = if k.copies.is_some() { ", copy" } else { "" };
        let first_tile = if k.needs_first_tile() { ", tile == begin" } else { "" };
        let call = |short: &str| {
            format!(
                "{}_tile{short}(pointers, scalars, first{u}, count{u}, first{d}, count{d}{size}{copy}{first_tile});",
                k.name
            )
        };
        if slots {
            self.open(&format!("if (count{d} <= {entries}u)"));
            self.line(&call("<true>"));
            self.depth -= 1;
            self.line("} else {");
            self.depth += 1;
            self.line(&call("<false>"));
            self.close();
        } else {
            self.line(&call(""));
        }
        self.again();
        self.close();
        self.close();
    }

    /// Tiles of the block.
    fn chunk(&mut self) {
        let chunks = self.kernel.chunks;
        self.line(&format!("const unsigned chunks = din_min(tiles, {chunks}u);"));
        self.line("if (din_chunk() >= chunks) return;");
        self.line("const unsigned begin = din_chunk_begin(din_chunk(), tiles, chunks);");
        self.line("const unsigned end = din_chunk_begin(din_chunk() + 1u, tiles, chunks);");
    }

    /// The block's scratch: so many numbers a sample, and an entry of the longest tile.
    fn spill(&mut self, samples: u32, entries: bool) {
        let (sample, entry) = self.kernel.scratch;
        if (sample, entry) == (0, 0) {
            return;
        }
        let entries = if entries { format!(" + size_t(longest) * {entry}u") } else { String::new() };
        self.line(&format!(
            "const DinPtr<float> spill = scratch + (size_t(din_instance()) * {}u + din_chunk()) * ({}u{entries});",
            self.kernel.chunks,
            u64::from(samples) * u64::from(sample)
        ));
    }

    /// The next tile uses the same buffers.
    fn again(&mut self) {
        if self.kernel.end_barrier {
            self.line("din_barrier();");
        }
    }

    fn arrays(&mut self) {
        for a in &self.kernel.arrays {
            let text = self.binding(a);
            self.line(&text);
        }
    }

    /// Declares an index array that the kernel is given.
    fn indices(&mut self, name: &str, number: u32) {
        self.line(&format!("const DinPtr<const unsigned> {name} = din_pointer<const unsigned>(pointers, {number}u);"));
    }

    fn binding(&self, a: &Array) -> String {
        let first = if let Rows::Local(d) = a.rows { format!("first{}", d.0) } else { String::new() };
        self.bound(a, &a.name, &first)
    }

    /// The declaration of an array from the row `first` on, which is its tile's, or its step's.
    fn bound(&self, a: &Array, name: &str, first: &str) -> String {
        let ty = if a.numbers == ElementKind::F32 { "float" } else { "const unsigned" };
        let value = match a.binding {
            ArrayBinding::Address(number) => {
                let base = format!("din_pointer<{ty}>(pointers, {number}u)");
                match a.rows {
                    Rows::Local(_) if a.stride == 1 => format!("{base} + {first}"),
                    Rows::Local(_) => format!("{base} + size_t({first}) * {}u", a.stride),
                    Rows::One | Rows::Whole(_) | Rows::Table(_) => base,
                }
            }
            ArrayBinding::Partial { offset } => format!("copy + {offset}u"),
            ArrayBinding::Shared { offset } => format!("din_shared() + {offset}u"),
            ArrayBinding::Slot { shared, scratch } => {
                let samples = match self.kernel.walk {
                    Walk::Once | Walk::Join { .. } => 0,
                    Walk::Samples { samples, .. } | Walk::Sequence { samples, .. } | Walk::Steps { samples, .. } => {
                        samples
                    }
                };
                let mut away = format!("spill + {}u", u64::from(scratch.0) * u64::from(samples));
                if scratch.1 > 0 {
                    // Writing to a string cannot fail.
                    let _ = write!(away, " + size_t(longest) * {}u", scratch.1);
                }
                if let (Walk::Steps { axis, .. }, Rows::Local(d)) = (self.kernel.walk, a.rows)
                    && axis == d
                {
                    let _ = write!(away, " + size_t({first} - base{}) * {}u", d.0, a.stride);
                }
                match shared {
                    None => away,
                    Some(at) if moves(self.kernel, a) => format!("Short ? din_shared() + {at}u : {away}"),
                    Some(at) => format!("din_shared() + {at}u"),
                }
            }
        };
        // What a tile of steps has is used inside of its loop, outside of it, or in both.
        let unused = if matches!(self.kernel.walk, Walk::Steps { .. }) { "[[maybe_unused]] " } else { "" };
        format!("{unused}const DinPtr<{ty}> {name} = {value};")
    }

    fn statements(&mut self, body: &[Stmt]) {
        for s in body {
            self.statement(s);
        }
    }

    fn statement(&mut self, s: &Stmt) {
        match s {
            Stmt::Comment(text) => self.line(&format!("// {text}")),
            Stmt::Let { to, value } => {
                let (name, ty) = self.typed(*to);
                let constant = if self.mutable.contains(&to.0) { "" } else { "const " };
                let value = self.value(value, ty == "double");
                self.line(&format!("{constant}{ty} {name} = {value};"));
            }
            Stmt::Accumulate { to, how, value } => {
                let to = self.name(*to);
                let text = format!("{to} = {};", joined(*how, &to, &self.name(*value)));
                self.line(&text);
            }
            Stmt::Store { at, value } => {
                let (at, value) = (self.element(at), self.stored(*value));
                self.line(&format!("{at} = {value};"));
            }
            Stmt::AccumulateInto { at, how, value } => {
                let (at, value) = (self.element(at), self.stored(*value));
                let old = format!("float({at})");
                self.line(&format!("{at} = {};", joined(*how, &old, &value)));
            }
            Stmt::For { over, range, body } => {
                let text = self.range(&self.name(*over), range);
                self.open(&text);
                self.statements(body);
                self.close();
            }
            Stmt::Split { width, groups, column, group, thread, body } => {
                let (column, group, thread) = (self.name(*column), self.name(*group), self.name(*thread));
                self.line(&format!("const unsigned {thread} = din_thread();"));
                if width * groups < self.kernel.threads {
                    self.open(&format!("if ({thread} < {}u)", width * groups));
                } else {
                    self.line("{");
                    self.depth += 1;
                }
                match (*width, *groups) {
                    (1, _) => self.line(&format!("const unsigned {group} = {thread};")),
                    (_, 1) => self.line(&format!("const unsigned {column} = {thread}, {group} = 0u;")),
                    (width, _) => {
                        self.line(&format!(
                            "const unsigned {column} = {thread} % {width}u, {group} = {thread} / {width}u;"
                        ));
                    }
                }
                self.statements(body);
                self.close();
            }
            Stmt::Single { body } => {
                self.open("if (din_thread() == 0u)");
                self.statements(body);
                self.close();
            }
            Stmt::FirstLane { body } => {
                self.open("if (din_lane() == 0u)");
                self.statements(body);
                self.close();
            }
            Stmt::Steps { backward, body } => self.step_loop(*backward, body),
            Stmt::Barrier => self.line("din_barrier();"),
            Stmt::Call(call) => {
                let text = print_call::call(self.kernel, call);
                self.line(&format!("{text};"));
            }
        }
    }

    fn range(&self, i: &str, range: &LoopRange) -> String {
        let threads = self.kernel.threads;
        match *range {
            LoopRange::Columns { width } => {
                format!("for (unsigned {i} = din_thread(); {i} < {width}u; {i} += {threads}u)")
            }
            LoopRange::Grid { width } => {
                format!(
                    "for (unsigned {i} = din_chunk() * {threads}u + din_thread(); {i} < {width}u; {i} += din_chunks() * {threads}u)"
                )
            }
            LoopRange::Lanes { width } => format!("for (unsigned {i} = din_lane(); {i} < {width}u; {i} += 32u)"),
            LoopRange::Rows { axis, group, groups } => {
                let from = group.map_or("0u".into(), |g| self.name(g));
                format!("for (unsigned {i} = {from}; {i} < {}; {i} += {groups}u)", count(axis))
            }
            LoopRange::Warps { axis } => {
                format!("for (unsigned {i} = din_warp(); {i} < {}; {i} += {}u)", count(axis), threads / 32)
            }
            LoopRange::Entries { axis, sample } => {
                let (d, s) = (axis.0, self.name(sample));
                format!(
                    "for (unsigned {i} = ends{d}[{s}] - first{d}, stop = ends{d}[{s} + 1u] - first{d}; {i} < stop; ++{i})"
                )
            }
        }
    }

    fn variable(&self, v: Var) -> &LocalVar {
        self.kernel.named(v).expect("verified kernels name variables that exist")
    }

    fn array(&self, id: ArrayId) -> &Array {
        self.kernel.array(id).expect("verified kernels name arrays that exist")
    }

    fn name(&self, v: Var) -> String {
        self.variable(v).name.clone()
    }

    fn typed(&self, v: Var) -> (String, &'static str) {
        let ty = match self.variable(v).ty {
            VarType::F64 => "double",
            VarType::Index(_) => "unsigned",
            VarType::F32 => "float",
        };
        (self.name(v), ty)
    }

    fn stored(&self, v: Var) -> String {
        match self.typed(v) {
            (name, "double") => format!("float({name})"),
            (name, _) => name,
        }
    }

    fn element(&self, at: &Element) -> String {
        let a = self.array(at.array);
        let column = match at.column {
            Column::Fixed(0) => String::new(),
            Column::Fixed(c) => format!("{c}u"),
            Column::At(v, 0) => self.name(v),
            Column::At(v, more) => format!("{} + {more}u", self.name(v)),
        };
        let row = match at.row {
            Row::First => String::new(),
            Row::At(v) if a.stride == 1 => self.name(v),
            Row::At(v) if matches!(a.rows, Rows::Table(_) | Rows::Whole(_)) => {
                format!("size_t({}) * {}u", self.name(v), a.stride)
            }
            Row::At(v) => format!("{} * {}u", self.name(v), a.stride),
        };
        let index = match (row.is_empty(), column.is_empty()) {
            (true, true) => "0".into(),
            (false, true) => row,
            (true, false) => column,
            (false, false) => format!("{row} + {column}"),
        };
        format!("{}[{index}]", a.name)
    }

    fn value(&self, value: &ValueExpr, double: bool) -> String {
        let number = |x: f64| number(x, double);
        match *value {
            ValueExpr::Number(x) => number(x),
            ValueExpr::Load(at) => {
                let text = self.element(&at);
                match self.array(at.array).numbers {
                    ElementKind::Index(IndexBound::Local(d)) => format!("{text} - first{}", d.0),
                    ElementKind::F32 if double => format!("double(float({text}))"),
                    ElementKind::F32 | ElementKind::Index(_) => text,
                }
            }
            ValueExpr::Unary(op, a) => {
                let a = self.name(a);
                match op {
                    UnaryOp::Negate => format!("-{a}"),
                    UnaryOp::Exp => format!("din_exp({a})"),
                    UnaryOp::Log => format!("din_log({a})"),
                    UnaryOp::Sqrt => format!("din_sqrt({a})"),
                    UnaryOp::Sigmoid => format!("din_sigmoid({a})"),
                    UnaryOp::Tanh => format!("din_tanh({a})"),
                    UnaryOp::Softplus => format!("din_softplus({a})"),
                    UnaryOp::Abs => format!("din_abs({a})"),
                    UnaryOp::Sign => format!("din_sign({a})"),
                    UnaryOp::Not => format!("{a} == {} ? {} : {}", number(0.0), number(1.0), number(0.0)),
                }
            }
            ValueExpr::Binary(op, a, b) => {
                let (a, b) = (self.name(a), self.name(b));
                let compare = |sign: &str| format!("{a} {sign} {b} ? {} : {}", number(1.0), number(0.0));
                match op {
                    BinaryOp::Add => format!("{a} + {b}"),
                    BinaryOp::Subtract => format!("{a} - {b}"),
                    BinaryOp::Multiply => format!("{a} * {b}"),
                    BinaryOp::Divide => format!("{a} / {b}"),
                    BinaryOp::Min => format!("{a} < {b} ? {a} : {b}"),
                    BinaryOp::Max => format!("{b} < {a} ? {a} : {b}"),
                    BinaryOp::Power => format!("din_pow({a}, {b})"),
                    BinaryOp::Less => compare("<"),
                    BinaryOp::LessEqual => compare("<="),
                    BinaryOp::Equal => compare("=="),
                }
            }
            ValueExpr::Power(a, n) => format!("din_power<{n}>({})", self.name(a)),
            ValueExpr::Select(c, a, b) => {
                format!("{} != {} ? {} : {}", self.name(c), number(0.0), self.name(a), self.name(b))
            }
            ValueExpr::DropoutMask { rate, of } => {
                let names = of.map(|of| self.name(of)).join(", ");
                format!("din_dropout({names}, {}u, {})", dropout::threshold(rate), number(dropout::scale(rate)))
            }
            ValueExpr::Paired { first, row, sample } => {
                let d = self.kernel.walk.under().expect("verified: pairs are in tiles of entries").0;
                let (first, row, sample) = (self.name(first), self.name(row), self.name(sample));
                format!("{first} + ({row} - (ends{d}[{sample}] - first{d}))")
            }
            ValueExpr::WarpSum(a) => format!("din_warp_sum({})", self.name(a)),
        }
    }
}

fn joined(how: Accumulation, old: &str, value: &str) -> String {
    match how {
        Accumulation::Add => format!("{old} + {value}"),
        Accumulation::Max => format!("{value} < {old} ? {old} : {value}"),
    }
}
