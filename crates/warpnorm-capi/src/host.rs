//! Devices of host memory: a call by addresses becomes a problem of slices, and its results go where the call says.

use crate::call::checked;
use crate::enums::DeviceKind;
use crate::error::Failure;
use std::borrow::Cow;
use std::ptr;
use std::slice;
use warpnorm::host::{BatchProblem, Device, Heads, Outputs, Placement, Problem, RopeTables, Vector};
use warpnorm::reference::Cpu;
use warpnorm::{Call, ColumnCall, PositionType, RawRows, RawVector, Scope};

/// A device whose tensors are in host memory.
pub(crate) struct HostDevice {
    kind: u32,
    device: Box<dyn Device + Send + Sync>,
}

/// A matrix of host memory: rows of parts of bytes, strides in bytes.
#[derive(Clone, Copy)]
struct Matrix {
    address: u64,
    rows: usize,
    row_stride: usize,
    parts: usize,
    part_stride: usize,
    part: usize,
}

impl HostDevice {
    pub(crate) fn cpu() -> Self {
        Self { kind: DeviceKind::Cpu as u32, device: Box::new(Cpu) }
    }

    #[cfg(feature = "emulator")]
    pub(crate) fn emulated(gpu: &str) -> Result<Self, Failure> {
        let facts = warpnorm::DeviceFacts::named(gpu)
            .ok_or_else(|| Failure::NoGpu { given: gpu.to_owned(), known: warpnorm::DeviceFacts::short_names() })?;
        Ok(Self { kind: DeviceKind::Emulated as u32, device: Box::new(warpnorm::emulated::Emulated::new(facts)) })
    }

    #[cfg(not(feature = "emulator"))]
    pub(crate) fn emulated(_: &str) -> Result<Self, Failure> {
        Err(Failure::NoFeature { device: "emulated", feature: "emulator" })
    }

    pub(crate) fn kind(&self) -> u32 {
        self.kind
    }

    pub(crate) fn name(&self) -> String {
        self.device.name()
    }

    /// Runs a call.
    ///
    /// # Safety
    /// Its tensors are in host memory of the extents that [`Call`]'s raw face asks for; nothing writes what it reads
    /// and nothing touches what it writes until it is done; what it reads is initialised.
    pub(crate) unsafe fn run(&self, call: &Call) -> Result<(), Failure> {
        if !checked(call)? {
            return Ok(());
        }
        // SAFETY: the call is valid, so that all extents fit the address space, and as the caller promises.
        let results = unsafe { self.compute(call) }?;
        // SAFETY: as above; the problem's borrows of the memory have ended.
        unsafe { store(call, &results) };
        Ok(())
    }

    /// # Safety
    /// As [`run`](Self::run), and the call is valid.
    unsafe fn compute(&self, call: &Call) -> Result<warpnorm::host::Output, Failure> {
        let (rows, hidden, parts) = (call.rows, call.hidden, call.parts);
        // SAFETY: every matrix below is a tensor of a valid call.
        let gather = |matrix: Matrix| unsafe { matrix.gather() };
        let of = |raw: RawRows, count, stride| gather(Matrix::of(call, raw, (count, stride)));
        let vector = |raw: Option<RawVector>, length: usize| {
            raw.map(|RawVector { address, dtype }| Vector {
                dtype,
                // SAFETY: so is every vector.
                bytes: unsafe { bytes(address, length * dtype.size()) },
            })
        };
        let x = of(call.x, parts.count, parts.x_stride);
        let residual = call.residual.map(|raw| of(raw, 1, 0));
        let gate = call.gate.map(|raw| of(raw, parts.count, parts.gate_stride));
        let parameters = if call.norm.scope == Scope::Group { hidden * parts.count } else { hidden };
        let second = call.second.map(|heads| {
            let x = of(heads.x, heads.count, heads.x_stride);
            (x, heads.count, vector(heads.weight, hidden), vector(heads.bias, hidden))
        });
        let rope = call.rope.zip(call.norm.rope).map(|(tables, rope)| {
            let size = tables.dtype.size();
            let table = |RawRows { address, stride }| {
                let (row_stride, part) = (stride.saturating_mul(size), rope.dim / 2 * size);
                gather(Matrix { address, rows: tables.entries, row_stride, parts: 1, part_stride: 0, part })
            };
            // SAFETY: a valid call has a position for every row.
            let positions = tables.positions.map(|positions| unsafe { read_positions(positions, rows) });
            (table(tables.cos), table(tables.sin), tables, positions)
        });
        let quantised = call.norm.quantisation.is_some();
        let problem = Problem {
            residual: residual.as_deref(),
            gate: gate.as_deref(),
            linear_bias: vector(call.linear_bias, hidden),
            weight: vector(call.weight, parameters),
            bias: vector(call.bias, parameters),
            // SAFETY: a valid call's is an f32.
            tensor_scale: call.tensor_scale.map(|address| unsafe { read_f32(address) }),
            inner_weight: vector(call.inner_weight, hidden),
            rate: vector(call.rate, hidden),
            parts: call.parts.count,
            second: second.as_ref().map(|(x, count, weight, bias)| Heads {
                x,
                count: *count,
                weight: *weight,
                bias: *bias,
            }),
            rope: rope.as_ref().map(|(cos, sin, tables, positions)| RopeTables {
                cos,
                sin,
                dtype: tables.dtype,
                positions: positions.as_deref(),
                position_type: tables.positions.map_or(PositionType::I64, |positions| positions.kind),
            }),
            outputs: Outputs {
                y: quantised && call.y.is_some(),
                residual: call.residual_out.is_some(),
                mean: call.mean.is_some(),
                rstd: call.rstd.is_some(),
            },
            programmatic_launch: call.programmatic_launch,
            ..Problem::new(call.norm, call.dtype, rows, hidden, &x)
        };
        Ok(self.device.run(&problem, Placement::default())?)
    }

    /// Takes the statistics of columns.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    pub(crate) unsafe fn run_columns(&self, call: &ColumnCall) -> Result<(), Failure> {
        call.validate()?;
        let (hidden, size) = (call.hidden, call.dtype.size());
        let matrix = Matrix {
            address: call.x.address,
            rows: call.rows,
            row_stride: call.x.stride * size,
            parts: 1,
            part_stride: 0,
            part: hidden * size,
        };
        let vector = |raw: Option<RawVector>| {
            raw.map(|RawVector { address, dtype }| Vector {
                dtype,
                // SAFETY: `hidden` elements are there, as the caller promises.
                bytes: unsafe { bytes(address, hidden * dtype.size()) },
            })
        };
        let results = {
            // SAFETY: the matrix is there, as the caller promises.
            let x = unsafe { matrix.gather() };
            let problem = BatchProblem {
                weight: vector(call.weight),
                bias: vector(call.bias),
                ..BatchProblem::new(call.statistics, call.dtype, call.rows, hidden, &x)
            };
            self.device.run_batch(&problem, Placement::default())?
        };
        for (address, values) in [
            (call.mean, &results.mean),
            (call.rstd, &results.rstd),
            (call.scale, &results.scale),
            (call.shift, &results.shift),
        ] {
            if let Some(address) = address {
                // SAFETY: `hidden` f32 elements are there, and no borrow of them is left.
                unsafe { write(address, &of_values(values)) };
            }
        }
        Ok(())
    }
}

/// Stores results where the call wants them.
///
/// # Safety
/// As [`HostDevice::run`]; the results are of this call, which is valid.
unsafe fn store(call: &Call, results: &warpnorm::host::Output) {
    // SAFETY: every matrix below is an output of a valid call, and the bytes are the result for it.
    let scatter = |matrix: Matrix, from: &[u8]| unsafe { matrix.scatter(from) };
    // SAFETY: so is every vector.
    let write = |address, from: &[u8]| unsafe { write(address, from) };
    let parts = call.parts;
    if let Some(y) = call.y {
        scatter(Matrix::of(call, y, (parts.count, parts.y_stride)), &results.y);
    }
    if let (Some(heads), Some(second_y)) = (call.second, &results.second_y) {
        scatter(Matrix::of(call, heads.y, (heads.count, heads.y_stride)), second_y);
    }
    if let (Some(raw), Some(residual)) = (call.residual_out, &results.residual) {
        scatter(Matrix::of(call, raw, (1, 0)), residual);
    }
    for (address, values) in [(call.mean, &results.mean), (call.rstd, &results.rstd)] {
        if let (Some(address), Some(values)) = (address, values) {
            write(address, &of_values(values));
        }
    }
    let Some(quantisation) = call.norm.quantisation else { return };
    if let (Some(raw), Some(codes)) = (call.codes, &results.codes) {
        let part = quantisation.row_bytes(call.hidden);
        let (address, rows, row_stride) = (raw.address, call.rows, raw.stride);
        scatter(Matrix { address, rows, row_stride, parts: 1, part_stride: 0, part }, codes);
    }
    if let (Some(address), Some(scales), Some(kind)) = (call.scales, &results.scales, quantisation.scaling.scale_type())
    {
        // Those between and after the rows' own are not written, as on a GPU.
        for row in 0..call.rows {
            for group in 0..quantisation.groups(call.hidden) {
                let at = quantisation.scale_index(call.rows, call.hidden, row, group) * kind.size();
                write(address + at as u64, &scales[at..at + kind.size()]);
            }
        }
    }
}

fn of_values(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

impl Matrix {
    /// Rows of a call, of so many parts so many elements apart.
    fn of(call: &Call, raw: RawRows, (parts, part_stride): (usize, usize)) -> Self {
        let size = call.dtype.size();
        Self {
            address: raw.address,
            rows: call.rows,
            row_stride: raw.stride.saturating_mul(size),
            parts,
            part_stride: part_stride.saturating_mul(size),
            part: call.hidden * size,
        }
    }

    /// Whether parts and rows follow one another without gaps.
    fn packed(&self) -> bool {
        (self.parts == 1 || self.part_stride == self.part)
            && (self.rows == 1 || self.row_stride == self.parts * self.part)
    }

    /// The start of each part, in bytes from the address.
    fn starts(self) -> impl Iterator<Item = usize> {
        (0..self.rows)
            .flat_map(move |row| (0..self.parts).map(move |part| row * self.row_stride + part * self.part_stride))
    }

    /// Its elements side by side; a view of them where they are.
    ///
    /// # Safety
    /// The memory is there and initialised, and nothing writes it for as long as the result is used.
    unsafe fn gather<'a>(self) -> Cow<'a, [u8]> {
        if self.packed() {
            // SAFETY: as the caller promises.
            return Cow::Borrowed(unsafe { bytes(self.address, self.rows * self.parts * self.part) });
        }
        let mut all = Vec::with_capacity(self.rows * self.parts * self.part);
        for start in self.starts() {
            // SAFETY: as the caller promises.
            all.extend_from_slice(unsafe { bytes(self.address + start as u64, self.part) });
        }
        Cow::Owned(all)
    }

    /// Writes elements that lie side by side to their places.
    ///
    /// # Safety
    /// The memory is there and nothing else uses it; there are as many bytes as the matrix has.
    unsafe fn scatter(self, from: &[u8]) {
        for (start, part) in self.starts().zip(from.chunks(self.part)) {
            // SAFETY: as the caller promises.
            unsafe { write(self.address + start as u64, part) };
        }
    }
}

/// Host memory, read.
///
/// # Safety
/// So many bytes are there and initialised, and nothing writes them for as long as the result is used.
unsafe fn bytes<'a>(address: u64, length: usize) -> &'a [u8] {
    // SAFETY: as the caller promises; the address was a pointer of the caller's, and is not null in a valid call.
    unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address as usize), length) }
}

/// Writes host memory.
///
/// # Safety
/// As many bytes are there, and nothing else uses them.
unsafe fn write(address: u64, from: &[u8]) {
    let to: *mut u8 = ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: as the caller promises; the source is Rust's own, so that the two do not overlap.
    unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
}

/// # Safety
/// An f32 is there.
unsafe fn read_f32(address: u64) -> f32 {
    // SAFETY: as the caller promises; a valid call's is aligned.
    unsafe { ptr::with_exposed_provenance::<f32>(address as usize).read() }
}

/// # Safety
/// As many positions of the type are there.
unsafe fn read_positions(positions: warpnorm::RawPositions, rows: usize) -> Vec<i64> {
    // SAFETY: as the caller promises.
    let raw = unsafe { bytes(positions.address, rows * positions.kind.size()) };
    match positions.kind {
        PositionType::I32 => raw.as_chunks().0.iter().map(|&chunk| i32::from_ne_bytes(chunk).into()).collect(),
        PositionType::I64 => raw.as_chunks().0.iter().map(|&chunk| i64::from_ne_bytes(chunk)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use warpnorm::host::{BatchOutput, Output};
    use warpnorm::{DType, Error, Norm, ProgrammaticLaunch};

    /// Says when a launch was to begin, and computes what the CPU does.
    struct Asked(&'static Mutex<Vec<ProgrammaticLaunch>>);

    impl Device for Asked {
        fn name(&self) -> String {
            Cpu.name()
        }

        fn run(&self, problem: &Problem<'_>, placement: Placement) -> Result<Output, Error> {
            self.0.lock().expect("no thread panics with it").push(problem.programmatic_launch);
            Cpu.run(problem, placement)
        }

        fn run_batch(&self, problem: &BatchProblem<'_>, placement: Placement) -> Result<BatchOutput, Error> {
            Cpu.run_batch(problem, placement)
        }
    }

    /// The executor holds a launch to it.
    #[test]
    fn a_device_hears_when_the_launch_may_begin() {
        static ASKED: Mutex<Vec<ProgrammaticLaunch>> = Mutex::new(Vec::new());
        let device = HostDevice { kind: DeviceKind::Cpu as u32, device: Box::new(Asked(&ASKED)) };
        let all = [ProgrammaticLaunch::Off, ProgrammaticLaunch::WaitFirst, ProgrammaticLaunch::ParametersFirst];
        for programmatic_launch in all {
            let (x, mut y) = ([1.0f32, 2.0, 3.0, 4.0], [0.0f32; 4]);
            let x = RawRows { address: x.as_ptr().expose_provenance() as u64, stride: 4 };
            let out = RawRows { address: y.as_mut_ptr().expose_provenance() as u64, stride: 4 };
            let call = Call { programmatic_launch, ..Call::new(Norm::rms_norm(1e-6), DType::F32, 1, 4, x, out) };
            // SAFETY: both rows are there, initialised, and no one else's.
            unsafe { device.run(&call) }.expect("a valid call");
        }
        assert_eq!(*ASKED.lock().expect("no thread panics with it"), all);
    }
}
