//! Statistics of columns on the emulated device.

use crate::random::Random;
use ptx_emu::{LaunchOptions, LaunchReport, Memory};
use warpnorm::emulated::Emulated;
use warpnorm::host::Vector;
use warpnorm::parity::judge_results;
use warpnorm::plan::{ByteFloor, ColumnPlan, column_byte_floor};
use warpnorm::reference::columns::{Column, batch_statistics};
use warpnorm::reference::encode;
use warpnorm::{BatchStatistics, ColumnCall, DType, DeviceFacts, RawRows, RawVector};

/// What columns hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Mean and deviation of about 1, different from column to column.
    Unit,
    /// 1e4 ± 1e-2 in f32, which tells values apart by 1e-3; 100 ± 3 in 16 bits.
    LargeMean,
    /// Equal values, others in every column.
    Constant,
    /// One value of a column is some thousand times as large as the others; which row has it varies.
    Outlier,
    /// Column after column larger, through the range of the type.
    Scaled,
    /// Two values, by turns of 256 rows: sums in which every rounding goes the same way.
    Square,
}

impl Values {
    pub fn make(self, dtype: DType, rows: usize, hidden: usize) -> Vec<f64> {
        let mut random = Random::new((rows * 31 + hidden) as u64);
        // Evenly spread over (-1, 1).
        let mut spread = move || random.bits() as i64 as f64 / (i64::MAX as f64);
        let value = |row: usize, column: usize, spread: f64| match self {
            Values::Unit => 1.7 * spread + (column % 7) as f64 / 3.0 - 1.0,
            Values::LargeMean if dtype == DType::F32 => 1e4 + 1e-2 * spread,
            Values::LargeMean => 100.0 + 3.0 * spread,
            Values::Constant => (column as f64 + 1.0) * 0.37,
            Values::Outlier if row == column % rows => 4000.0,
            Values::Outlier => spread,
            Values::Square => (if (row / 256).is_multiple_of(2) { 0.1 } else { -0.1 }) * (1.0 + column as f64 / 7.0),
            Values::Scaled => spread * 2f64.powi((column % 24) as i32 - 12),
        };
        (0..rows * hidden).map(|at| value(at / hidden, at % hidden, spread())).collect()
    }
}

#[derive(Clone, Debug)]
pub struct Case {
    pub dtype: DType,
    pub rows: usize,
    pub hidden: usize,
    /// Elements between rows, and by which every tensor starts past a multiple of 256 bytes.
    pub padding: usize,
    pub offset: usize,
    pub eps: f32,
    /// `rows × hidden` elements.
    pub x: Vec<u8>,
    /// The type of γ and β, if they are given.
    pub parameters: Option<DType>,
    /// Which of mean, rstd, scale and shift are wanted.
    pub outputs: [bool; 4],
}

/// The results in the order of [`Case::outputs`], as bits; empty where they are not asked for.
pub struct Run {
    pub bits: [Vec<u32>; 4],
    pub plan: ColumnPlan,
    pub report: LaunchReport,
    pub floor: ByteFloor,
}

impl Run {
    pub fn values(&self, output: usize) -> Vec<f32> {
        self.bits[output].iter().map(|&bits| f32::from_bits(bits)).collect()
    }
}

impl Case {
    pub fn new(values: Values, dtype: DType, rows: usize, hidden: usize) -> Self {
        let x = encode(dtype, values.make(dtype, rows, hidden));
        Self { dtype, rows, hidden, padding: 0, offset: 0, eps: 1e-5, x, parameters: None, outputs: [true; 4] }
    }

    pub fn placed(self, padding: usize, offset: usize) -> Self {
        Self { padding, offset, ..self }
    }

    /// γ and β, different in every column.
    pub fn gamma_and_beta(&self) -> Option<(DType, Vec<u8>, Vec<u8>)> {
        let dtype = self.parameters?;
        let vector =
            |scale: f64, start: f64| encode(dtype, (0..self.hidden).map(|column| start + scale * (column % 13) as f64));
        Some((dtype, vector(-0.21, 1.3), vector(0.5, -2.0)))
    }

    pub fn reference(&self) -> Vec<Column> {
        let parameters = self.gamma_and_beta();
        let vector = |bytes| parameters.as_ref().map(|&(dtype, ..)| Vector { dtype, bytes });
        let (gamma, beta) = parameters.as_ref().map_or((&[][..], &[][..]), |(_, gamma, beta)| (gamma, beta));
        let shape = (self.dtype, self.rows, self.hidden);
        batch_statistics(&BatchStatistics::new(self.eps), shape, &self.x, vector(gamma), vector(beta)).expect("valid")
    }

    /// Lays the case out and fills in a call. Padding is forbidden, inputs are read-only.
    pub fn lay_out(&self, memory: &mut Memory) -> ColumnCall {
        let size = self.dtype.size();
        let (row, stride) = (self.hidden * size, self.hidden + self.padding);
        let offset = |dtype: DType| self.offset * dtype.size();
        let mut bytes = vec![0xff; ((self.rows - 1) * stride + self.hidden) * size];
        for (at, contents) in self.x.chunks(row).enumerate() {
            bytes[at * stride * size..][..row].copy_from_slice(contents);
        }
        let input = |memory: &mut Memory, name, bytes: &[u8], dtype| {
            let address = memory.allocate_misaligned(name, bytes.len(), offset(dtype));
            memory.write(address, bytes).expect("allocated");
            memory.set_read_only(address, true).expect("allocated");
            address
        };
        let x = input(memory, "x", &bytes, self.dtype);
        for at in 1..self.rows {
            let gap = self.padding * size;
            memory.forbid(x + (at * stride * size - gap) as u64, gap).expect("allocated");
        }
        let rows = RawRows { address: x, stride };
        let mut call = ColumnCall::new(BatchStatistics::new(self.eps), self.dtype, self.rows, self.hidden, rows);
        if let Some((dtype, gamma, beta)) = self.gamma_and_beta() {
            let used = (self.outputs[2] || self.outputs[3], self.outputs[3]);
            let vector = |memory: &mut Memory, name, bytes: &[u8]| RawVector {
                address: input(memory, name, bytes, dtype),
                dtype,
            };
            call.weight = used.0.then(|| vector(memory, "weight", &gamma));
            call.bias = used.1.then(|| vector(memory, "bias", &beta));
        }
        let mut output =
            |name, wanted: bool| wanted.then(|| memory.allocate_misaligned(name, 4 * self.hidden, offset(DType::F32)));
        let [mean, rstd, scale, shift] = self.outputs;
        call.mean = output("mean", mean);
        call.rstd = output("rstd", rstd);
        call.scale = output("scale", scale);
        call.shift = output("shift", shift);
        call
    }

    pub fn run(&self, device: &DeviceFacts) -> Run {
        self.run_with(device, LaunchOptions { distinct_bytes: true, ..LaunchOptions::default() })
    }

    pub fn run_with(&self, device: &DeviceFacts, options: LaunchOptions) -> Run {
        let mut memory = Memory::new();
        let call = self.lay_out(&mut memory);
        let emulated = Emulated::new(device.clone()).with_options(options);
        let (plan, report) = emulated.launch_columns(&call, &mut memory).expect("runs");
        let bits = [call.mean, call.rstd, call.scale, call.shift].map(|address| {
            let Some(address) = address else { return Vec::new() };
            let mut bits = vec![0u32; self.hidden];
            // A host's read of what no kernel has written is refused.
            memory.read(address, bytemuck::cast_slice_mut(&mut bits)).expect("written");
            bits
        });
        Run { bits, plan, report, floor: column_byte_floor(&call) }
    }

    /// What is wrong with a run, if anything is.
    pub fn judge(&self, run: &Run) -> Option<String> {
        let values = [0, 1, 2, 3].map(|output| run.values(output));
        let verdict = judge_results(&self.reference(), values.each_ref().map(Vec::as_slice));
        let worst = verdict.worst.filter(|_| !verdict.passed)?;
        let Case { dtype, rows, hidden, padding, offset, eps, parameters, .. } = self;
        let (role, exact, error) = (worst.wanted.role, worst.wanted.exact, worst.wanted.error);
        let (column, got) = (worst.column, worst.got);
        Some(format!(
            "{rows} × {hidden} {dtype} padding {padding} offset {offset} eps {eps:e} γ {parameters:?}: \
             {role} of column {column} is {got:e}, wanted {exact:e} ± {error:e}"
        ))
    }
}
