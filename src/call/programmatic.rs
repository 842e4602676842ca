//! When a launch may begin.

/// When a launch may begin: CUDA's programmatic dependent launch (CUDA C++ Programming Guide; PTX ISA,
/// `griddepcontrol`).
///
/// A kernel usually begins when the work in front of it in its stream has completed. One that is launched
/// programmatically may begin earlier, when all thread blocks of the kernel in front of it have let it: its own blocks
/// are then in their places, and wait there for the kernels in front of them to complete before they access any tensor.
/// What is computed is the same to the bit; what is saved is a part of the time between two launches. All kernels of
/// this crate let those behind them begin at once, however they were launched themselves.
///
/// It takes a GPU of compute capability 9.0 and PTX for `sm_90`. Elsewhere it has no effect, so that a server runs the
/// same code on all of its GPUs; [`Plan::programmatic`](crate::plan::Plan::programmatic) says whether it has one.
/// Captured in a CUDA graph, it becomes a programmatic edge, which takes a driver of CUDA 12.3.
///
/// In a chain of programmatic launches, a kernel that has waited for the one in front of it has waited for all of them,
/// since each completes only after its own wait. A kernel of others that is part of the chain, and lets those behind
/// it begin early, has to keep that, too: all of its threads execute `griddepcontrol.wait`
/// (`cudaGridDependencySynchronize`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProgrammaticLaunch {
    /// When all work in front of it in the stream has completed.
    #[default]
    Off,
    /// Early, and waits before it reads or writes any tensor.
    WaitFirst,
    /// Early, and may read parameters before it waits: weight, bias, linear bias, the weight of an inner norm, rates,
    /// and weight and bias of other heads; not scales, nor the tables and positions of a rotation.
    ///
    /// A promise: no kernel that may still be running when this one begins writes them. Those are the one in front of
    /// it in the stream; where that was launched programmatically itself, also the one in front of that; and so on, as
    /// far as launches are programmatic, and one further. Weights that are written when a model is loaded keep it;
    /// weights that the step before has just computed do not.
    ParametersFirst,
}

impl ProgrammaticLaunch {
    /// Whether the launch may begin early.
    pub const fn begins_early(self) -> bool {
        !matches!(self, ProgrammaticLaunch::Off)
    }
}

#[cfg(feature = "emulator")]
mod unready {
    use super::ProgrammaticLaunch;
    use crate::{Call, CallError, ColumnCall, Role};
    use std::ops::Range;

    impl Call {
        /// The addresses of the tensors that a programmatic launch is not to touch before it has waited.
        pub(crate) fn unready(&self) -> Result<Vec<Range<u64>>, CallError> {
            const PARAMETERS: [Role; 7] = [
                Role::Weight,
                Role::Bias,
                Role::LinearBias,
                Role::InnerWeight,
                Role::Rate,
                Role::SecondWeight,
                Role::SecondBias,
            ];
            let parameters_first = self.programmatic_launch == ProgrammaticLaunch::ParametersFirst;
            let spans = self.spans()?;
            let waits = spans.iter().filter(|span| !(parameters_first && PARAMETERS.contains(&span.role)));
            Ok(waits.map(|span| span.extent()).collect())
        }
    }

    impl ColumnCall {
        /// The same for the statistics of columns: all of their tensors.
        pub(crate) fn unready(&self) -> Result<Vec<Range<u64>>, CallError> {
            Ok(self.spans()?.iter().flatten().map(|span| span.extent()).collect())
        }
    }
}
