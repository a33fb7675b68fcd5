//! Running a list of commands: as it is, or captured and replayed. `graphs` says which.

use super::super::driver::{Command, DeviceError};
use super::super::graphs::GraphNode;
use super::super::library::{self, CUgraphExec, CUstream};
use super::Gpu;

impl Gpu {
    /// The list as nodes, with all functions found and allowed their shared memory.
    pub(super) fn resolve(&mut self, commands: &[Command<'_>]) -> Result<(), DeviceError> {
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.clear();
        for command in commands {
            match command {
                Command::Launch(l) => nodes.push(GraphNode::Launch {
                    function: self.function(l)?,
                    grid: l.grid,
                    threads: l.threads,
                    shared: l.shared,
                    given: [l.pointers, l.scalars, l.scratch],
                    side_stream: l.side_stream,
                }),
                &Command::Copy { from, to, bytes, side_stream } => {
                    nodes.push(GraphNode::Copy { from, to, bytes, side_stream })
                }
                Command::Join => nodes.push(GraphNode::Join),
                Command::Arrays { .. } => {}
            }
        }
        self.nodes = nodes;
        Ok(())
    }

    /// The list one by one. Its streams have met when it ends, also where it fails.
    pub(super) fn run_plain(&mut self, commands: &[Command<'_>]) -> Result<(), DeviceError> {
        let asked = self.run_commands(commands);
        let met = self.streams.join(&self.api).map_err(|failed| self.failure(failed));
        asked.and(met)
    }

    fn run_commands(&mut self, commands: &[Command<'_>]) -> Result<(), DeviceError> {
        // One by one where each is waited for, or timed.
        let alone = self.wait_each || self.timer.is_some();
        for command in commands {
            match command {
                Command::Launch(launch) => {
                    let stream = self.stream(launch.side_stream && !alone)?;
                    self.launch_on(launch, stream)?;
                }
                &Command::Copy { from, to, bytes, side_stream } => {
                    let stream = self.stream(side_stream && !alone)?;
                    self.copy_on(from, to, bytes, stream)?;
                }
                Command::Join => self.streams.join(&self.api).map_err(|failed| self.failure(failed))?,
                Command::Arrays { .. } => {}
            }
        }
        Ok(())
    }

    fn stream(&mut self, side_stream: bool) -> Result<CUstream, DeviceError> {
        if !side_stream {
            return Ok(self.streams.main);
        }
        self.streams.fork(&self.api).map_err(|failed| self.failure(failed))
    }

    /// A graph of a list, ready to be launched; nothing of it has run.
    pub(super) fn capture(&mut self, commands: &[Command<'_>]) -> Result<CUgraphExec, DeviceError> {
        // SAFETY: a live stream of the current context, on which nothing is being captured.
        let code = unsafe { (self.api.capture_begin)(self.streams.main, library::CAPTURE_THREAD_LOCAL) };
        self.check("cuStreamBeginCapture", code)?;
        let asked = self.run_plain(commands);
        let mut graph = std::ptr::null_mut();
        // SAFETY: ends what was begun above, whatever has happened since.
        let code = unsafe { (self.api.capture_end)(self.streams.main, &mut graph) };
        self.streams.reset_fork();
        let captured = asked.and_then(|()| self.check("cuStreamEndCapture", code));
        let mut ready = std::ptr::null_mut();
        let made = captured.and_then(|()| {
            // SAFETY: the graph was just captured; the instance does not need it any longer.
            self.check("cuGraphInstantiateWithFlags", unsafe { (self.api.graph_ready)(&mut ready, graph, 0) })
        });
        if !graph.is_null() {
            // SAFETY: as above. What fails here leaves a graph in memory and nothing else.
            unsafe { (self.api.graph_destroy)(graph) };
        }
        made.map(|()| ready)
    }

    pub(super) fn destroy(&self, graphs: impl IntoIterator<Item = CUgraphExec>) {
        for graph in graphs {
            // SAFETY: made by `capture`, and known to nobody any more; one that runs is freed when
            // it is done.
            unsafe { (self.api.ready_destroy)(graph) };
        }
    }

    pub(super) fn replay(&mut self, graph: CUgraphExec, commands: &[Command<'_>]) -> Result<(), DeviceError> {
        // SAFETY: a live graph, whose addresses are of live memory: see `free`.
        let code = unsafe { (self.api.graph_launch)(graph, self.streams.main) };
        let launches = || commands.iter().filter_map(|c| if let Command::Launch(l) = c { Some(l) } else { None });
        if let Some(last) = launches().next_back() {
            self.launched(last, launches().count() as u64);
        }
        self.check("cuGraphLaunch", code)
    }
}
