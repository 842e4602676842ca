//! Tensors of the host, laid out by the crate.

use super::verdict::{judged, judged_without_y};
use super::{Description, Fill};
use arbitrary::{Arbitrary, Result, Unstructured};
use std::mem::discriminant;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Output, Placement, Problem};
use warpnorm::plan::{EXCHANGE_BYTES, Module, Plan};
use warpnorm::reference::{Cpu, decode};
use warpnorm::{DeviceFacts, Error, PlanError};

/// How the tensors lie, and what is wrong with them.
#[derive(Debug)]
pub struct Road {
    placement: Placement,
    /// A tensor that is cut short or made longer, and by how much.
    wrong_bytes: Option<(Tensor, i8)>,
}

#[derive(Clone, Copy, Debug)]
enum Tensor {
    X,
    Residual,
    Weight,
    Bias,
}

impl<'a> Arbitrary<'a> for Road {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let placement = Placement {
            padding: *u.choose(&[0, 0, 0, 1, 2, 3, 4, 5, 8, 16])?,
            offset: *u.choose(&[0, 0, 0, 1, 2, 3, 4, 7, 8])?,
            stagger: *u.choose(&[0, 0, 0, 1, 3, 8])?,
            in_place: u.arbitrary()?,
        };
        let wrong_bytes = if u.ratio(1, 32)? {
            Some((*u.choose(&[Tensor::X, Tensor::Residual, Tensor::Weight, Tensor::Bias])?, u.arbitrary()?))
        } else {
            None
        };
        Ok(Road { placement, wrong_bytes })
    }
}

impl Road {
    pub fn hold(&self, description: &Description, problem: &Problem<'_>) {
        let Some((tensor, by)) = self.wrong_bytes else { return self.run(description, problem) };
        let resize = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len().saturating_add_signed(by.into()), 0);
            bytes
        };
        let mut wrong = *problem;
        let original = match tensor {
            Tensor::X => Some(problem.x),
            Tensor::Residual => problem.residual,
            Tensor::Weight => problem.weight.map(|weight| weight.bytes),
            Tensor::Bias => problem.bias.map(|bias| bias.bytes),
        };
        let bytes = resize(original.unwrap_or_default());
        match tensor {
            Tensor::X => wrong.x = &bytes,
            Tensor::Residual => wrong.residual = problem.residual.map(|_| &bytes[..]),
            Tensor::Weight => wrong.weight.iter_mut().for_each(|weight| weight.bytes = &bytes),
            Tensor::Bias => wrong.bias.iter_mut().for_each(|bias| bias.bytes = &bytes),
        }
        if original.is_some_and(|original| original.len() != bytes.len()) {
            assert!(wrong.validate().is_err(), "{by} bytes too many in {tensor:?} were accepted");
        }
        self.run(description, &wrong);
    }

    fn run(&self, description: &Description, problem: &Problem<'_>) {
        let device = Emulated::new(description.device.clone());
        let ran = device.run_counted(problem, self.placement);
        if let Err(refusal) = problem.validate() {
            // Whoever is asked gives the same answer.
            let refusal = format!("{refusal:?}");
            let same = |who, error: Option<Error>| {
                let error = error.map(|error| format!("{error:?}"));
                assert_eq!(error.as_ref(), Some(&refusal), "{who}");
            };
            same("plan", problem.plan(&description.device).err());
            same("reference", Cpu.run(problem, self.placement).err());
            same("emulator", ran.err());
            return;
        }
        let plan = match problem.plan(&description.device) {
            Ok(plan) => plan,
            Err(refusal) => {
                let error = ran.expect_err("the plan was refused");
                // How many threads and thread blocks there are too many of depends on where the tensors lie, too, and so
                // does which of the two is said.
                let too_many = |error: &PlanError| matches!(error, PlanError::Threads { .. } | PlanError::Grid { .. });
                match (&error, &refusal) {
                    (Error::Plan(found), Error::Plan(wanted)) => {
                        let same = discriminant(found) == discriminant(wanted) || too_many(found) && too_many(wanted);
                        assert!(same, "{error:?}, {refusal:?}");
                    }
                    other => panic!("{other:?}"),
                }
                return;
            }
        };
        if let Some(plan) = &plan {
            fits(plan, &description.device);
        }
        if plan.is_some()
            && let Err(none) = device.target(Module::of(&problem.norm, problem.dtype))
        {
            let error = ran.expect_err("no PTX runs on the device");
            assert!(matches!(&error, Error::Plan(error) if *error == none), "{error:?}");
            return;
        }
        let (output, ran) = match ran {
            Ok(ran) => ran,
            // Where they lie, they may have another kernel than where the plan alone has them lie.
            Err(Error::Plan(PlanError::Threads { .. } | PlanError::Grid { .. }))
                if self.placement != Placement::default() =>
            {
                return;
            }
            Err(error) => panic!("{error}\n{error:?}"),
        };
        assert_eq!(ran.is_some(), plan.is_some());
        if problem.norm.quantisation.is_some() && !problem.outputs.y {
            judged_without_y(problem, &output, &device, description.fill);
        } else {
            judged(problem, &output, description.fill);
        }
        self.alone(problem, &output, description.fill);
    }

    /// The last row alone, aligned and on another device, has the same bits.
    fn alone(&self, problem: &Problem<'_>, output: &Output, fill: Fill) {
        let Some(last) = problem.rows.checked_sub(1) else { return };
        let row_bytes = problem.hidden * problem.dtype.size();
        let row = last * row_bytes..(last + 1) * row_bytes;
        let mut single = *problem;
        single.rows = 1;
        single.x = &problem.x[row.clone()];
        single.gate = problem.gate.map(|gate| &gate[row.clone()]);
        single.residual = problem.residual.map(|residual| &residual[row.clone()]);
        let device = Emulated::new(DeviceFacts::h200());
        let alone = device.run(&single, Placement::default()).expect("what runs in a batch runs alone");
        // A NaN is a NaN, whatever its bits.
        let values = |bytes: &[u8]| -> Vec<u64> {
            let canonical = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
            decode(problem.dtype, bytes).into_iter().map(canonical).collect()
        };
        if !output.y.is_empty() {
            assert_eq!(values(&alone.y), values(&output.y[row.clone()]), "{fill:?}");
        }
        if let Some(quantisation) = problem.norm.quantisation {
            let row_bytes = quantisation.row_bytes(problem.hidden);
            let codes = output.codes.as_ref().map(|codes| &codes[last * row_bytes..(last + 1) * row_bytes]);
            assert_eq!(alone.codes.as_deref(), codes, "{fill:?}");
            let size = quantisation.scaling.scale_type().map_or(0, |scale_type| scale_type.size());
            let scale = |scales: &Option<Vec<u8>>, rows, row, group| {
                let start = quantisation.scale_index(rows, problem.hidden, row, group) * size;
                scales.as_ref().map(|scales| scales[start..start + size].to_vec())
            };
            for group in 0..quantisation.groups(problem.hidden) {
                let got = scale(&output.scales, problem.rows, last, group);
                assert_eq!(scale(&alone.scales, 1, 0, group), got, "{fill:?}, group {group}");
            }
        }
        let stored = |output: &Output, row| output.residual.as_ref().map(|residual| values(&residual[row]));
        assert_eq!(stored(&alone, 0..row_bytes), stored(output, row));
    }
}

/// A plan stays within what the device has.
fn fits(plan: &Plan, device: &DeviceFacts) {
    let threads = plan.block_threads();
    assert!(threads.is_multiple_of(32) && threads <= device.max_threads_per_block, "{plan:?}");
    assert!(plan.grid >= 1 && plan.grid <= device.max_grid_x, "{plan:?}");
    assert!(
        plan.shared_bytes == 0 || plan.shared_bytes + EXCHANGE_BYTES <= device.max_shared_bytes_per_block,
        "{plan:?}"
    );
    assert!(u64::from(plan.grid) * u64::from(plan.args.rows_per_cta) >= plan.args.rows, "{plan:?}");
}
