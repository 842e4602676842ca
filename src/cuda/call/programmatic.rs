//! Launches that begin before those in front of them have completed.

use super::NormCall;
use crate::{Element, ProgrammaticLaunch};

impl<E: Element> NormCall<'_, E> {
    /// Lets the launch [begin early](ProgrammaticLaunch::WaitFirst), before the kernel in front of it in the stream has
    /// completed, for whose completion it waits before it accesses any tensor. What it does is as safe as without:
    /// every access still comes after all that is in front of it in the stream. Without effect on GPUs before
    /// compute capability 9.0.
    ///
    /// It begins early where nothing but kernels stands between the two. Where cudarc tracks events, which it does once a
    /// context has a second stream, it records and awaits some around every launch: a server that orders its streams
    /// itself turns that off (`CudaContext::disable_event_tracking`).
    ///
    /// That takes kernels of others to keep their part: one in front of it that was itself launched programmatically,
    /// and lets those behind it begin early, has to [wait](ProgrammaticLaunch) with all of its threads, too. Else what is
    /// in front of that kernel may still be running when this launch accesses its tensors.
    ///
    /// ```no_run
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::bf16;
    /// # use warpnorm::{Activation, Norm, cuda::{Kernels, RowsMut}};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, mut x: CudaSlice<bf16>) -> Result<(), warpnorm::Error> {
    /// let mut x = RowsMut::contiguous(&mut x, 4096)?;
    /// kernels.norm(&Norm::rms_norm(1e-6)).run_in_place(stream, &mut x)?;
    /// kernels.norm(&Norm::activation(Activation::SILU)).programmatic_launch().run_in_place(stream, &mut x)
    /// # }
    /// ```
    pub fn programmatic_launch(mut self) -> Self {
        self.programmatic_launch = self.programmatic_launch.max(ProgrammaticLaunch::WaitFirst);
        self
    }

    /// As [`programmatic_launch`](Self::programmatic_launch), and parameters [may be read](ProgrammaticLaunch::ParametersFirst)
    /// before the wait.
    ///
    /// # Safety
    /// No kernel that may still be running when this one begins writes weight, bias, linear bias, inner weight, rate, or
    /// weight and bias of other heads: not the one in front of it in the stream, and where that was launched
    /// programmatically itself, none of those in front of that as far as launches are programmatic, nor the one before.
    /// Borrows cannot tell: a kernel that is queued goes on writing after the borrow of its output has ended, and what
    /// else relies on the order of the stream is given up here.
    pub unsafe fn parameters_first(mut self) -> Self {
        self.programmatic_launch = ProgrammaticLaunch::ParametersFirst;
        self
    }
}
