//! The stopwatch: events around the replay of a captured graph.

use crate::BenchError;
use crate::error::During;
use crate::measure::Stopwatch;
use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaGraph, CudaStream};
use std::sync::Arc;

/// Queues the launch of this turn on the stream.
pub type Queue<'a> = Box<dyn Fn(u32, &Arc<CudaStream>) -> Result<(), BenchError> + 'a>;

/// Times a subject on a stream.
pub struct GraphTimer<'a> {
    stream: Arc<CudaStream>,
    round: u32,
    queue: Queue<'a>,
    graph: Option<CudaGraph>,
}

impl<'a> GraphTimer<'a> {
    /// Of what this queues, whose tensors come round after so many launches.
    pub fn new(stream: &Arc<CudaStream>, round: u32, queue: Queue<'a>) -> Self {
        Self { stream: Arc::clone(stream), round, queue, graph: None }
    }
}

impl Stopwatch for GraphTimer<'_> {
    fn round(&self) -> u32 {
        self.round
    }

    fn prepare(&mut self, launches: u32) -> Result<(), BenchError> {
        self.graph = None;
        // What is loaded on first use is loaded outside the capture.
        (self.queue)(0, &self.stream)?;
        self.stream.synchronize().during("wait for a launch")?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).during("begin a capture")?;
        let queued = (0..launches).try_for_each(|turn| (self.queue)(turn, &self.stream));
        // Ended in any case: a stream that stays in capture is of no use to what comes next.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).during("end a capture");
        queued?;
        let graph = graph?.ok_or(BenchError::Driver { what: "capture a graph", code: "no graph".to_owned() })?;
        graph.upload().during("upload a graph")?;
        self.graph = Some(graph);
        Ok(())
    }

    fn sample(&mut self) -> Result<f64, BenchError> {
        let graph = self.graph.as_ref().ok_or_else(|| BenchError::Unsupported("nothing was prepared".to_owned()))?;
        let timing = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let start = self.stream.record_event(timing).during("record an event")?;
        graph.launch().during("launch a graph")?;
        let end = self.stream.record_event(timing).during("record an event")?;
        end.synchronize().during("wait for a graph")?;
        Ok(f64::from(start.elapsed_ms(&end).during("read a time")?) / 1e3)
    }
}
