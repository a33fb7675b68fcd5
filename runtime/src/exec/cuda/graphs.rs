//! Lists of launches and copies that have been captured as CUDA graphs, to be replayed by one call.
//!
//! A list is identified by its content: functions, grids, pointers. The first time it is launched
//! plainly, which also loads its functions (a capture must not), the second time it is captured,
//! and from then on replayed. A graph holds pointers but no contents, so a replay does what the
//! list would do. [`MOST`] lists are kept; the least recently used one is evicted. Lists that point
//! into freed memory are dropped at once.

use super::driver::DevicePtr;
use super::library::{CUfunction, CUgraphExec};

/// Most lists that are kept, captured or not: batches of one size have two, since uploads are
/// double-buffered; on one rank of several they have two for each part of a step between
/// reductions, of which there may be a dozen.
const MOST: usize = 192;

/// A command, with its function found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GraphNode {
    Launch {
        function: CUfunction,
        grid: (u32, u32),
        threads: u32,
        shared: u32,
        given: [DevicePtr; 3],
        side_stream: bool,
    },
    Copy {
        from: DevicePtr,
        to: DevicePtr,
        bytes: usize,
        side_stream: bool,
    },
    Join,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CaptureState {
    /// Seen once.
    New,
    Captured(CUgraphExec),
    /// The driver does not capture it.
    Refused,
}

#[derive(Debug)]
struct CachedList {
    nodes: Vec<GraphNode>,
    state: CaptureState,
    /// When it was seen last.
    used: u64,
}

/// How lists were run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// One by one.
    pub plain: u64,
    pub captured: u64,
    pub replayed: u64,
    /// Lists that could not be captured and are launched plainly since, and why not the last one.
    pub refused: u64,
    pub why: Option<String>,
}

/// What is to be done with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextAction {
    Plain,
    /// To be captured, then given to [`Graphs::captured`] or [`Graphs::refused`].
    Capture,
    Replay(CUgraphExec),
}

/// See the module. Graphs that it gives back are the caller's to destroy.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    kept: Vec<CachedList>,
    clock: u64,
    pub counts: CaptureCounts,
}

impl Graphs {
    /// What to do with a list that comes now, and a graph that has to make way for it.
    pub fn next(&mut self, nodes: &[GraphNode]) -> (NextAction, Option<CUgraphExec>) {
        self.clock += 1;
        if let Some(kept) = self.kept.iter_mut().find(|k| k.nodes == nodes) {
            kept.used = self.clock;
            let next = match kept.state {
                CaptureState::New => NextAction::Capture,
                CaptureState::Captured(graph) => NextAction::Replay(graph),
                CaptureState::Refused => NextAction::Plain,
            };
            match next {
                NextAction::Replay(_) => self.counts.replayed += 1,
                NextAction::Plain => self.counts.plain += 1,
                NextAction::Capture => {}
            }
            return (next, None);
        }
        self.counts.plain += 1;
        let new = CachedList { nodes: nodes.to_vec(), state: CaptureState::New, used: self.clock };
        if self.kept.len() < MOST {
            self.kept.push(new);
            return (NextAction::Plain, None);
        }
        // There is one: MOST is not 0.
        let Some(oldest) = self.kept.iter_mut().min_by_key(|k| k.used) else { return (NextAction::Plain, None) };
        (NextAction::Plain, std::mem::replace(oldest, new).graph())
    }

    /// The list that came last is a graph from now on.
    pub fn captured(&mut self, graph: CUgraphExec) {
        self.counts.captured += 1;
        self.settle(CaptureState::Captured(graph));
    }

    /// The list that came last is launched plainly from now on.
    pub fn refused(&mut self, why: String) {
        self.counts.refused += 1;
        self.counts.plain += 1;
        self.counts.why = Some(why);
        self.settle(CaptureState::Refused);
    }

    fn settle(&mut self, state: CaptureState) {
        let clock = self.clock;
        if let Some(kept) = self.kept.iter_mut().find(|k| k.used == clock) {
            kept.state = state;
        }
    }

    /// Forgets the lists that lead into memory; gives their graphs.
    pub fn forget(&mut self, at: DevicePtr, bytes: usize) -> Vec<CUgraphExec> {
        let within = |a: DevicePtr| a >= at && a - at < bytes as u64;
        let leads = |node: &GraphNode| match *node {
            GraphNode::Launch { given, .. } => given.into_iter().any(within),
            GraphNode::Copy { from, to, .. } => within(from) || within(to),
            GraphNode::Join => false,
        };
        self.drain(|kept| kept.nodes.iter().any(leads))
    }

    /// Forgets all lists; gives their graphs.
    pub fn clear(&mut self) -> Vec<CUgraphExec> {
        self.drain(|_| true)
    }

    fn drain(&mut self, goes: impl Fn(&CachedList) -> bool) -> Vec<CUgraphExec> {
        let (gone, kept) = std::mem::take(&mut self.kept).into_iter().partition(|k| goes(k));
        self.kept = kept;
        let gone: Vec<CachedList> = gone;
        gone.into_iter().filter_map(CachedList::graph).collect()
    }
}

impl CachedList {
    fn graph(self) -> Option<CUgraphExec> {
        if let CaptureState::Captured(graph) = self.state { Some(graph) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle<T>(n: usize) -> *mut T {
        std::ptr::without_provenance_mut(n)
    }

    fn list(n: u64) -> Vec<GraphNode> {
        let launch = |k: u64| GraphNode::Launch {
            function: handle(1),
            grid: (3, 1),
            threads: 32,
            shared: 0,
            given: [1 << 20, (1 << 21) + n, k],
            side_stream: false,
        };
        vec![launch(0), launch(1), GraphNode::Copy { from: 1 << 30, to: 1 << 31, bytes: 64, side_stream: false }]
    }

    #[test]
    fn the_second_time_is_captured_and_the_third_replayed() {
        let mut graphs = Graphs::default();
        assert_eq!(graphs.next(&list(0)), (NextAction::Plain, None));
        assert_eq!(graphs.next(&list(1)), (NextAction::Plain, None));
        assert_eq!(graphs.next(&list(0)), (NextAction::Capture, None));
        graphs.captured(handle(7));
        assert_eq!(graphs.next(&list(1)), (NextAction::Capture, None));
        graphs.refused("no".into());
        assert_eq!(graphs.next(&list(0)), (NextAction::Replay(handle(7)), None));
        assert_eq!(graphs.next(&list(1)), (NextAction::Plain, None));
        let counts = CaptureCounts { plain: 4, captured: 1, replayed: 1, refused: 1, why: Some("no".into()) };
        assert_eq!(graphs.counts, counts);
    }

    #[test]
    fn the_least_recently_used_makes_way() {
        let mut graphs = Graphs::default();
        for n in 0..MOST as u64 {
            graphs.next(&list(n));
            assert_eq!(graphs.next(&list(n)).0, NextAction::Capture);
            graphs.captured(handle(n as usize + 1));
        }
        assert_eq!(graphs.next(&list(0)).0, NextAction::Replay(handle(1)));
        assert_eq!(graphs.next(&list(MOST as u64)), (NextAction::Plain, Some(handle(2))));
        assert_eq!(graphs.next(&list(1)), (NextAction::Plain, Some(handle(3))));
    }

    #[test]
    fn freed_memory_is_forgotten() {
        let mut graphs = Graphs::default();
        for n in 0..2 {
            graphs.next(&list(n));
            graphs.next(&list(n));
            graphs.captured(handle(n as usize + 1));
        }
        assert_eq!(graphs.forget((1 << 20) + 1, 256), []);
        assert_eq!(graphs.forget((1 << 21) + 1, 1), [handle(2)]);
        assert_eq!(graphs.next(&list(1)).0, NextAction::Plain);
        assert_eq!(graphs.forget(1 << 30, 1), [handle(1)]);
        assert_eq!(graphs.clear(), []);
    }
}
