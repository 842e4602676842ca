//! What streams are given to do, put off until somebody waits for it: then it comes as late as it may. Of two streams that
//! nothing orders, the one that is waited for runs without the other, and reads what the other has not written yet.

use crate::Outcome;
use crate::state::{Handle, Recorded, State};
use crate::work::Work;
use cudarc::driver::sys::CUresult;
use std::collections::VecDeque;
use std::time::Instant;

/// So many things that a stream has been given: what an event stands behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    stream: Handle,
    number: u64,
}

pub(crate) enum Item {
    Work(Work),
    Wait(Point),
    /// The time of an event.
    Record(Handle),
    Free {
        address: u64,
        bytes: usize,
    },
}

#[derive(Default)]
pub(crate) struct Stream {
    items: VecDeque<Item>,
    done: u64,
}

impl State {
    /// Whether there is such a stream.
    pub(crate) fn stream(&self, stream: Handle) -> Outcome {
        let there = stream.is_default_stream() || self.streams.contains_key(&stream);
        if there { Ok(()) } else { Err(CUresult::CUDA_ERROR_INVALID_HANDLE) }
    }

    /// Gives a stream something to do once all before it is done.
    pub(crate) fn give(&mut self, stream: Handle, item: Item) -> Outcome<Point> {
        self.stream(stream)?;
        let queue = self.streams.entry(stream).or_default();
        queue.items.push_back(item);
        Ok(Point { stream, number: queue.done + queue.items.len() as u64 })
    }

    /// Has a stream do something; or the graph of a capture that it takes part in, when that is launched.
    pub(crate) fn queue(&mut self, stream: Handle, work: Work) -> Outcome {
        self.stream(stream)?;
        if let Some(capture) = self.captures.of_stream(stream) {
            return capture.take(work);
        }
        // Of memory that is not pinned a copy from the host has read all, and one to the host is done, when it returns.
        let to_host = matches!(work, Work::ToHost { .. });
        self.give(stream, Item::Work(work.staged()))?;
        if to_host { self.finish(stream) } else { Ok(()) }
    }

    /// Does what a stream has been given up to a point, and what that waits for.
    pub(crate) fn wait_for(&mut self, point: Point) -> Outcome {
        loop {
            // One that was destroyed had finished.
            let Some(stream) = self.streams.get_mut(&point.stream) else { return Ok(()) };
            if stream.done >= point.number {
                return Ok(());
            }
            let Some(item) = stream.items.pop_front() else { return Ok(()) };
            stream.done += 1;
            let here = Point { stream: point.stream, number: stream.done };
            match item {
                Item::Work(work) => work.run(self)?,
                Item::Wait(other) => self.wait_for(other)?,
                Item::Record(event) => {
                    // It may have been recorded again since, or destroyed.
                    if let Some(recorded) = self.events.get_mut(&event)
                        && matches!(*recorded, Recorded::Behind(point) if point == here)
                    {
                        *recorded = Recorded::At(Instant::now());
                    }
                }
                Item::Free { address, bytes } => {
                    self.taken -= bytes;
                    self.memory.free(address).map_err(|_| CUresult::CUDA_ERROR_INVALID_VALUE)?;
                }
            }
        }
    }

    pub(crate) fn finish(&mut self, stream: Handle) -> Outcome {
        let Some(queue) = self.streams.get(&stream) else { return Ok(()) };
        let number = queue.done + queue.items.len() as u64;
        self.wait_for(Point { stream, number })
    }

    pub(crate) fn finish_all(&mut self) -> Outcome {
        let streams: Vec<Handle> = self.streams.keys().copied().collect();
        streams.into_iter().try_for_each(|stream| self.finish(stream))
    }
}
