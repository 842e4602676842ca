//! Captures: what streams are given to do is put aside for a graph.

use crate::Outcome;
use crate::state::{Handle, Recorded};
use crate::work::Work;
use cudarc::driver::sys::{CUresult, CUstreamCaptureMode as Mode};
use std::collections::HashMap;
use std::thread::{self, ThreadId};

pub(crate) struct Capture {
    work: Vec<Work>,
    mode: Mode,
    thread: ThreadId,
    /// The stream that it began on.
    origin: Handle,
    /// Other streams that take part, and whether the origin has waited for what they were given since.
    others: HashMap<Handle, bool>,
    is_invalid: bool,
}

impl Capture {
    pub(crate) fn take(&mut self, work: Work) -> Outcome {
        if self.is_invalid {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        self.work.push(work);
        Ok(())
    }

    fn spoil(&mut self, error: CUresult) -> CUresult {
        self.is_invalid = true;
        error
    }
}

#[derive(Default)]
pub(crate) struct Captures {
    all: HashMap<Handle, Capture>,
}

impl Captures {
    fn id_of_stream(&self, stream: Handle) -> Option<Handle> {
        let takes_part = |capture: &Capture| capture.origin == stream || capture.others.contains_key(&stream);
        self.all.iter().find_map(|(&id, capture)| takes_part(capture).then_some(id))
    }

    /// The capture that a stream takes part in, which is about to be given something to do.
    pub(crate) fn of_stream(&mut self, stream: Handle) -> Option<&mut Capture> {
        let id = self.id_of_stream(stream)?;
        let capture = self.all.get_mut(&id)?;
        if let Some(joined) = capture.others.get_mut(&stream) {
            *joined = false;
        }
        Some(capture)
    }

    /// Whether the stream takes part in one, and whether that is still good.
    pub(crate) fn state_of(&self, stream: Handle) -> Option<bool> {
        self.id_of_stream(stream).map(|id| !self.all[&id].is_invalid)
    }

    pub(crate) fn begin(&mut self, id: Handle, stream: Handle, mode: Mode) -> Outcome {
        // The legacy stream waits for all others; this library has no other default stream.
        if stream.is_default_stream() {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        if self.id_of_stream(stream).is_some() {
            return Err(CUresult::CUDA_ERROR_ILLEGAL_STATE);
        }
        let capture = Capture {
            work: Vec::new(),
            mode,
            thread: thread::current().id(),
            origin: stream,
            others: HashMap::new(),
            is_invalid: false,
        };
        self.all.insert(id, capture);
        Ok(())
    }

    pub(crate) fn end(&mut self, stream: Handle) -> Outcome<Vec<Work>> {
        let id = self.id_of_stream(stream).ok_or(CUresult::CUDA_ERROR_ILLEGAL_STATE)?;
        let capture = &self.all[&id];
        if capture.origin != stream {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
        }
        if capture.mode != Mode::CU_STREAM_CAPTURE_MODE_RELAXED && capture.thread != thread::current().id() {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
        }
        let capture = self.all.remove(&id).ok_or(CUresult::CUDA_ERROR_ILLEGAL_STATE)?;
        if capture.is_invalid {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        if capture.others.values().any(|&joined| !joined) {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
        }
        Ok(capture.work)
    }

    /// What an event of a stream stands behind, where the stream captures.
    pub(crate) fn recorded(&self, stream: Handle) -> Option<Recorded> {
        self.id_of_stream(stream).map(|id| Recorded::In(id, stream))
    }

    /// Has a stream wait for an event: of a capture it takes part in that from then on.
    pub(crate) fn wait(&mut self, stream: Handle, event: Recorded) -> Outcome {
        let own = self.id_of_stream(stream);
        match (own, event) {
            (None, Recorded::In(id, _)) => {
                let capture = self.all.get_mut(&id).ok_or(CUresult::CUDA_ERROR_CAPTURED_EVENT)?;
                if stream.is_default_stream() {
                    return Err(capture.spoil(CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT));
                }
                capture.others.insert(stream, false);
                Ok(())
            }
            (Some(own), Recorded::In(id, other)) => {
                let capture = self.all.get_mut(&own).ok_or(CUresult::CUDA_ERROR_CAPTURED_EVENT)?;
                if own != id {
                    return Err(capture.spoil(CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE));
                }
                if capture.origin == stream
                    && let Some(joined) = capture.others.get_mut(&other)
                {
                    *joined = true;
                }
                Ok(())
            }
            // What is outside has to be done before, and a graph cannot know whether it is.
            (Some(own), Recorded::Behind(_) | Recorded::At(_)) => {
                let capture = self.all.get_mut(&own).ok_or(CUresult::CUDA_ERROR_CAPTURED_EVENT)?;
                Err(capture.spoil(CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION))
            }
            (_, Recorded::Never) | (None, Recorded::Behind(_) | Recorded::At(_)) => Ok(()),
        }
    }

    /// For a call that waits for, or changes, more than its own stream: the captures that do not allow it are lost.
    pub(crate) fn forbid(&mut self) -> Outcome {
        let own = thread::current().id();
        let mut outcome = Ok(());
        for capture in self.all.values_mut() {
            let forbids = match capture.mode {
                Mode::CU_STREAM_CAPTURE_MODE_GLOBAL => true,
                Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL => capture.thread == own,
                Mode::CU_STREAM_CAPTURE_MODE_RELAXED => false,
            };
            if forbids {
                outcome = Err(capture.spoil(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
            }
        }
        outcome
    }

    /// For a call that waits for a stream, which a capture never ends by itself.
    pub(crate) fn forbid_waiting(&mut self, stream: Handle) -> Outcome {
        let Some(id) = self.id_of_stream(stream) else { return Ok(()) };
        let capture = self.all.get_mut(&id).ok_or(CUresult::CUDA_ERROR_ILLEGAL_STATE)?;
        Err(capture.spoil(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED))
    }
}
