//! Devices that chains are tested on: the executor, watched, and the reference, tampered with.

use crate::formulas::plain::values;
use std::cell::{Cell, RefCell};
use warpnorm::emulated::Emulated;
use warpnorm::host::{BatchOutput, BatchProblem, Device, Output, Placement, Problem};
use warpnorm::parity::judge;
use warpnorm::reference::Cpu;
use warpnorm::{DeviceFacts, Error};

/// The executor with the PTX of each shipped target by turns, every launch held against the reference.
pub struct Alternating {
    devices: [Emulated; 2],
    seen: RefCell<Seen>,
}

/// What became of the launches.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub launches: usize,
    /// Elements of y, of other heads' y and of residual streams.
    pub elements: usize,
    /// Those of them that are not the reference's value, on the same input. Of zeros the sign is left out of account.
    pub differing: usize,
    /// Launches out of tolerance.
    pub failed: Vec<String>,
}

impl Default for Alternating {
    fn default() -> Self {
        Self { devices: [DeviceFacts::t4(), DeviceFacts::h200()].map(Emulated::new), seen: RefCell::default() }
    }
}

impl Alternating {
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

impl Device for Alternating {
    fn name(&self) -> String {
        "emulated, both targets".to_owned()
    }

    /// Every third launch is in place, as servers have it.
    fn run(&self, problem: &Problem<'_>, _placement: Placement) -> Result<Output, Error> {
        let mut seen = self.seen.borrow_mut();
        let number = seen.launches;
        let placement = Placement { in_place: number.is_multiple_of(3), ..Placement::default() };
        let output = self.devices[number % 2].run(problem, placement)?;
        let (verdict, reference) = (judge(problem, &output)?, Cpu.run(problem, placement)?);
        if !verdict.passed {
            seen.failed.push(format!("launch {number}, {:?}: {verdict:?}", problem.norm));
        }
        let values = |output: &Output| -> Vec<f64> {
            let tensors = [Some(&output.y), output.second_y.as_ref(), output.residual.as_ref()];
            tensors.into_iter().flatten().flat_map(|bytes| values(problem.dtype, bytes)).collect()
        };
        let (got, wanted) = (values(&output), values(&reference));
        assert_eq!(got.len(), wanted.len());
        seen.elements += got.len();
        seen.differing += got.iter().zip(&wanted).filter(|(got, wanted)| got != wanted).count();
        seen.launches += 1;
        Ok(output)
    }

    fn run_batch(&self, problem: &BatchProblem<'_>, placement: Placement) -> Result<BatchOutput, Error> {
        self.devices[0].run_batch(problem, placement)
    }
}

/// The reference with something changed on the way.
pub struct Changing {
    /// The launch that returns what it was given.
    omitted: Option<usize>,
    /// What becomes of every problem; none where it does not apply.
    change: fn(&mut Problem<'_>) -> Option<()>,
    launches: Cell<usize>,
    changed: Cell<bool>,
}

impl Changing {
    /// Without one launch.
    pub fn omitting(launch: usize) -> Self {
        Self { omitted: Some(launch), ..Self::with(|_| None) }
    }

    /// With this change of every problem that it applies to.
    pub fn with(change: fn(&mut Problem<'_>) -> Option<()>) -> Self {
        Self { omitted: None, change, launches: Cell::new(0), changed: Cell::new(false) }
    }

    /// Whether there was something to change.
    pub fn changed(&self) -> bool {
        self.changed.get()
    }
}

impl Device for Changing {
    fn name(&self) -> String {
        "the reference, changed".to_owned()
    }

    fn run(&self, problem: &Problem<'_>, placement: Placement) -> Result<Output, Error> {
        let number = self.launches.replace(self.launches.get() + 1);
        let mut problem = *problem;
        if (self.change)(&mut problem).is_some() {
            self.changed.set(true);
        }
        let output = Cpu.run(&problem, placement)?;
        if self.omitted != Some(number) {
            return Ok(output);
        }
        self.changed.set(true);
        Ok(Output {
            y: problem.x.to_vec(),
            second_y: problem.second.map(|heads| heads.x.to_vec()),
            residual: output.residual.and(problem.residual.map(<[u8]>::to_vec)),
            ..output
        })
    }

    fn run_batch(&self, problem: &BatchProblem<'_>, placement: Placement) -> Result<BatchOutput, Error> {
        Cpu.run_batch(problem, placement)
    }
}
