//! The calls of cuBLAS that baselines are composed of, on the host, in the order of the handle's stream. Matrices are
//! column-major; arithmetic is f32, rounded to the type of the result at the end.

use crate::state::{Handle, State, locked};
use crate::work::{Compute, Work};
use crate::{Outcome, answer, put, report};
use cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasHandle_t, cublasOperation_t as Operation, cublasSideMode_t as Side,
    cublasStatus_t as Status, cudaDataType, cudaStream_t,
};
use cudarc::driver::sys::CUresult;
use half::{bf16, f16};
use ptx_emu::{Memory, MemoryError};
use std::ffi::{c_int, c_longlong, c_void};

const INVALID: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

/// As `entries` has them, with cuBLAS's numbers.
macro_rules! calls {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> Status {
            match answer(|| $body) {
                CUresult::CUDA_SUCCESS => Status::CUBLAS_STATUS_SUCCESS,
                CUresult::CUDA_ERROR_INVALID_HANDLE => Status::CUBLAS_STATUS_NOT_INITIALIZED,
                INVALID => Status::CUBLAS_STATUS_INVALID_VALUE,
                CUresult::CUDA_ERROR_NOT_SUPPORTED => Status::CUBLAS_STATUS_NOT_SUPPORTED,
                _ => Status::CUBLAS_STATUS_EXECUTION_FAILED,
            }
        }
    )*};
}

#[derive(Clone, Copy)]
enum Number {
    F32,
    F16,
    Bf16,
}

impl Number {
    fn of(data: cudaDataType) -> Outcome<Self> {
        match data {
            cudaDataType::CUDA_R_32F => Ok(Self::F32),
            cudaDataType::CUDA_R_16F => Ok(Self::F16),
            cudaDataType::CUDA_R_16BF => Ok(Self::Bf16),
            _ => Err(CUresult::CUDA_ERROR_NOT_SUPPORTED),
        }
    }

    fn bytes(self) -> usize {
        if matches!(self, Self::F32) { 4 } else { 2 }
    }

    fn read(self, memory: &Memory, address: u64, count: usize) -> Result<Vec<f32>, MemoryError> {
        let mut bytes = vec![0; count * self.bytes()];
        memory.read(address, &mut bytes)?;
        let value = |bytes: &[u8]| match (self, bytes) {
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Self::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            (_, &[a, b, ..]) => bf16::from_le_bytes([a, b]).to_f32(),
            _ => f32::NAN,
        };
        Ok(bytes.chunks_exact(self.bytes()).map(value).collect())
    }

    fn write(self, memory: &mut Memory, address: u64, values: &[f32]) -> Result<(), MemoryError> {
        let bytes = |&value: &f32| match self {
            Self::F32 => value.to_le_bytes().to_vec(),
            Self::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
            Self::Bf16 => bf16::from_f32(value).to_le_bytes().to_vec(),
        };
        memory.write(address, &values.iter().flat_map(bytes).collect::<Vec<u8>>())
    }
}

/// A matrix as it is stored.
#[derive(Clone, Copy)]
struct Matrix {
    address: u64,
    number: Number,
    rows: usize,
    columns: usize,
    leading: usize,
}

impl Matrix {
    fn new(address: u64, number: Number, shape: (c_int, c_int), leading: c_int) -> Outcome<Self> {
        let size = |size: c_int| usize::try_from(size).map_err(|_| INVALID);
        let (rows, columns, leading) = (size(shape.0)?, size(shape.1)?, size(leading)?);
        let fits = leading >= rows.max(1);
        if fits { Ok(Self { address, number, rows, columns, leading }) } else { Err(INVALID) }
    }

    fn column(self, column: usize) -> u64 {
        self.address + (column * self.leading * self.number.bytes()) as u64
    }

    /// Its columns, or its rows.
    fn read(self, memory: &Memory, transposed: bool) -> Result<Vec<Vec<f32>>, MemoryError> {
        let columns = (0..self.columns).map(|column| self.number.read(memory, self.column(column), self.rows));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        if !transposed {
            return Ok(columns);
        }
        Ok((0..self.rows).map(|row| columns.iter().map(|column| column[row]).collect()).collect())
    }

    fn write(self, memory: &mut Memory, columns: &[Vec<f32>]) -> Result<(), MemoryError> {
        let mut numbered = columns.iter().enumerate();
        numbered.try_for_each(|(column, values)| self.number.write(memory, self.column(column), values))
    }

    /// The one of this number in a batch.
    fn at(self, index: u64, stride: c_longlong) -> Self {
        let apart = stride.unsigned_abs() * self.number.bytes() as u64;
        Self { address: self.address + index * apart, ..self }
    }
}

/// c = alpha·op(a)·op(b) + beta·c.
#[derive(Clone, Copy)]
struct Product {
    a: Matrix,
    b: Matrix,
    c: Matrix,
    transposed: [bool; 2],
    alpha: f32,
    beta: f32,
}

impl Product {
    fn run(self, memory: &mut Memory) -> Result<(), MemoryError> {
        // Of a the rows, of b the columns.
        let rows = self.a.read(memory, !self.transposed[0])?;
        let columns = self.b.read(memory, self.transposed[1])?;
        let before = if self.beta == 0.0 { Vec::new() } else { self.c.read(memory, false)? };
        let element = |(column, row): (usize, usize)| {
            let dot = rows[row].iter().zip(&columns[column]).fold(0.0f32, |sum, (a, b)| a.mul_add(*b, sum));
            self.alpha * dot + before.get(column).map_or(0.0, |before| self.beta * before[row])
        };
        let of = |column| (0..self.c.rows).map(|row| element((column, row))).collect();
        self.c.write(memory, &(0..self.c.columns).map(of).collect::<Vec<_>>())
    }
}

fn transposed(operation: Operation) -> bool {
    operation != Operation::CUBLAS_OP_N
}

/// The shape of a stored matrix whose operation gives this one.
fn stored(operation: Operation, (rows, columns): (c_int, c_int)) -> (c_int, c_int) {
    if transposed(operation) { (columns, rows) } else { (rows, columns) }
}

/// # Safety
/// `factor` is null, or points to a factor on the host, as handles take them unless they are told otherwise.
unsafe fn factor(factor: *const f32) -> Outcome<f32> {
    // SAFETY: the caller's promise.
    unsafe { factor.as_ref() }.copied().ok_or(INVALID)
}

fn queue(
    handle: cublasHandle_t,
    run: impl Fn(&mut Memory) -> Result<(), MemoryError> + Send + Sync + 'static,
) -> Outcome {
    let mut state = locked()?;
    let stream = *stream_of(&mut state, handle)?;
    state.queue(stream, Work::Compute(Compute::new(run)))
}

fn stream_of(state: &mut State, handle: cublasHandle_t) -> Outcome<&mut Handle> {
    state.blas.get_mut(&Handle::of(handle)).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
}

fn count(count: c_int) -> Outcome<usize> {
    usize::try_from(count).map_err(|_| INVALID)
}

fn only(holds: bool, what: &str) -> Outcome {
    if holds {
        return Ok(());
    }
    report(&format!("cuBLAS: {what} is used by nobody yet"));
    Err(CUresult::CUDA_ERROR_NOT_SUPPORTED)
}

/// A matrix of a product, or the first of a batch, as a call names it.
#[derive(Clone, Copy)]
struct Operand {
    address: usize,
    number: Number,
    leading: c_int,
    stride: c_longlong,
}

impl Operand {
    fn new(first: *const c_void, data: cudaDataType, leading: c_int, stride: c_longlong) -> Outcome<Self> {
        Ok(Self { address: first.addr(), number: Number::of(data)?, leading, stride })
    }
}

fn multiply(
    handle: cublasHandle_t,
    operations: [Operation; 2],
    (m, n, k): (c_int, c_int, c_int),
    (alpha, beta): (f32, f32),
    operands: [Operand; 3],
    batch: c_int,
) -> Outcome {
    let [a, b, c] = operands;
    if operands.iter().any(|operand| operand.stride < 0) {
        return Err(INVALID);
    }
    let matrix = |of: Operand, shape| Matrix::new(of.address as u64, of.number, shape, of.leading);
    let product = Product {
        a: matrix(a, stored(operations[0], (m, k)))?,
        b: matrix(b, stored(operations[1], (k, n)))?,
        c: matrix(c, (m, n))?,
        transposed: operations.map(transposed),
        alpha,
        beta,
    };
    let batch = count(batch)? as u64;
    queue(handle, move |memory| {
        (0..batch).try_for_each(|i| {
            let (a, b, c) = (product.a.at(i, a.stride), product.b.at(i, b.stride), product.c.at(i, c.stride));
            Product { a, b, c, ..product }.run(memory)
        })
    })
}

calls! {
    fn cublasCreate_v2(handle: *mut cublasHandle_t) {
        let mut state = locked()?;
        state.captures.forbid()?;
        let made = state.handle();
        state.blas.insert(made, Handle(0));
        // SAFETY: the macro's contract.
        unsafe { put(handle, made.pointer()) }
    }

    fn cublasDestroy_v2(handle: cublasHandle_t) {
        let removed = locked()?.blas.remove(&Handle::of(handle));
        removed.map(|_| ()).ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
    }

    fn cublasSetStream_v2(handle: cublasHandle_t, stream: cudaStream_t) {
        let mut state = locked()?;
        state.stream(Handle::of(stream))?;
        *stream_of(&mut state, handle)? = Handle::of(stream);
        Ok(())
    }

    fn cublasSetWorkspace_v2(handle: cublasHandle_t, workspace: *mut c_void, bytes: usize) {
        let mut state = locked()?;
        stream_of(&mut state, handle)?;
        let owned = state.allocated.get(&(workspace.addr() as u64));
        if owned.is_some_and(|&owned| owned >= bytes) { Ok(()) } else { Err(INVALID) }
    }

    fn cublasAxpyEx(
        handle: cublasHandle_t,
        n: c_int,
        alpha: *const c_void,
        alpha_type: cudaDataType,
        x: *const c_void,
        x_type: cudaDataType,
        x_step: c_int,
        y: *mut c_void,
        y_type: cudaDataType,
        y_step: c_int,
        computed: cudaDataType,
    ) {
        let float = cudaDataType::CUDA_R_32F;
        only(alpha_type == float && computed == float && x_step == 1 && y_step == 1, "such an axpy")?;
        let (n, x_type, y_type) = (count(n)?, Number::of(x_type)?, Number::of(y_type)?);
        // SAFETY: the macro's contract, and alpha is an f32.
        let alpha = unsafe { factor(alpha.cast())? };
        let (x, y) = (x.addr() as u64, y.addr() as u64);
        queue(handle, move |memory| {
            let (from, to) = (x_type.read(memory, x, n)?, y_type.read(memory, y, n)?);
            let sums: Vec<f32> = from.iter().zip(&to).map(|(x, y)| alpha.mul_add(*x, *y)).collect();
            y_type.write(memory, y, &sums)
        })
    }

    fn cublasGemmStridedBatchedEx(
        handle: cublasHandle_t,
        a_operation: Operation,
        b_operation: Operation,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: *const c_void,
        a: *const c_void,
        a_type: cudaDataType,
        a_leading: c_int,
        a_stride: c_longlong,
        b: *const c_void,
        b_type: cudaDataType,
        b_leading: c_int,
        b_stride: c_longlong,
        beta: *const c_void,
        c: *mut c_void,
        c_type: cudaDataType,
        c_leading: c_int,
        c_stride: c_longlong,
        batch: c_int,
        computed: cublasComputeType_t,
        _algorithm: cublasGemmAlgo_t,
    ) {
        only(computed == cublasComputeType_t::CUBLAS_COMPUTE_32F, "such a product")?;
        let a = Operand::new(a, a_type, a_leading, a_stride)?;
        let b = Operand::new(b, b_type, b_leading, b_stride)?;
        let c = Operand::new(c, c_type, c_leading, c_stride)?;
        // SAFETY: the macro's contract, and both are f32s where that is computed in.
        let factors = unsafe { (factor(alpha.cast())?, factor(beta.cast())?) };
        multiply(handle, [a_operation, b_operation], (m, n, k), factors, [a, b, c], batch)
    }

    fn cublasGemmEx(
        handle: cublasHandle_t,
        a_operation: Operation,
        b_operation: Operation,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: *const c_void,
        a: *const c_void,
        a_type: cudaDataType,
        a_leading: c_int,
        b: *const c_void,
        b_type: cudaDataType,
        b_leading: c_int,
        beta: *const c_void,
        c: *mut c_void,
        c_type: cudaDataType,
        c_leading: c_int,
        computed: cublasComputeType_t,
        _algorithm: cublasGemmAlgo_t,
    ) {
        only(computed == cublasComputeType_t::CUBLAS_COMPUTE_32F, "such a product")?;
        let a = Operand::new(a, a_type, a_leading, 0)?;
        let b = Operand::new(b, b_type, b_leading, 0)?;
        let c = Operand::new(c, c_type, c_leading, 0)?;
        // SAFETY: the macro's contract, and both are f32s where that is computed in.
        let factors = unsafe { (factor(alpha.cast())?, factor(beta.cast())?) };
        multiply(handle, [a_operation, b_operation], (m, n, k), factors, [a, b, c], 1)
    }

    fn cublasSgemm_v2(
        handle: cublasHandle_t,
        a_operation: Operation,
        b_operation: Operation,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: *const f32,
        a: *const f32,
        a_leading: c_int,
        b: *const f32,
        b_leading: c_int,
        beta: *const f32,
        c: *mut f32,
        c_leading: c_int,
    ) {
        let operand = |first: *const f32, leading| Operand::new(first.cast(), cudaDataType::CUDA_R_32F, leading, 0);
        let operands = [operand(a, a_leading)?, operand(b, b_leading)?, operand(c, c_leading)?];
        // SAFETY: the macro's contract.
        let factors = unsafe { (factor(alpha)?, factor(beta)?) };
        multiply(handle, [a_operation, b_operation], (m, n, k), factors, operands, 1)
    }

    fn cublasSgemv_v2(
        handle: cublasHandle_t,
        operation: Operation,
        m: c_int,
        n: c_int,
        alpha: *const f32,
        a: *const f32,
        leading: c_int,
        x: *const f32,
        x_step: c_int,
        beta: *const f32,
        y: *mut f32,
        y_step: c_int,
    ) {
        only(x_step == 1 && y_step == 1, "such a gemv")?;
        let (rows, columns) = stored(operation, (m, n));
        let vector = |address, length| Matrix::new(address, Number::F32, (length, 1), length.max(1));
        let product = Product {
            a: Matrix::new(a.addr() as u64, Number::F32, (m, n), leading)?,
            b: vector(x.addr() as u64, columns)?,
            c: vector(y.addr() as u64, rows)?,
            transposed: [transposed(operation), false],
            // SAFETY: the macro's contract.
            alpha: unsafe { factor(alpha)? },
            // SAFETY: the macro's contract.
            beta: unsafe { factor(beta)? },
        };
        queue(handle, move |memory| product.run(memory))
    }

    fn cublasSger_v2(
        handle: cublasHandle_t,
        m: c_int,
        n: c_int,
        alpha: *const f32,
        x: *const f32,
        x_step: c_int,
        y: *const f32,
        y_step: c_int,
        a: *mut f32,
        leading: c_int,
    ) {
        only(x_step == 1 && y_step == 1, "such a ger")?;
        let product = Product {
            a: Matrix::new(x.addr() as u64, Number::F32, (m, 1), m.max(1))?,
            b: Matrix::new(y.addr() as u64, Number::F32, (n, 1), n.max(1))?,
            c: Matrix::new(a.addr() as u64, Number::F32, (m, n), leading)?,
            transposed: [false, true],
            // SAFETY: the macro's contract.
            alpha: unsafe { factor(alpha)? },
            beta: 1.0,
        };
        queue(handle, move |memory| product.run(memory))
    }

    fn cublasSdgmm(
        handle: cublasHandle_t,
        side: Side,
        m: c_int,
        n: c_int,
        a: *const f32,
        a_leading: c_int,
        x: *const f32,
        x_step: c_int,
        c: *mut f32,
        c_leading: c_int,
    ) {
        only(x_step == 1, "such a dgmm")?;
        let a = Matrix::new(a.addr() as u64, Number::F32, (m, n), a_leading)?;
        let c = Matrix::new(c.addr() as u64, Number::F32, (m, n), c_leading)?;
        let is_left = side == Side::CUBLAS_SIDE_LEFT;
        let x = x.addr() as u64;
        queue(handle, move |memory| {
            let factors = Number::F32.read(memory, x, if is_left { a.rows } else { a.columns })?;
            let mut columns = a.read(memory, false)?;
            for (column, values) in columns.iter_mut().enumerate() {
                for (row, value) in values.iter_mut().enumerate() {
                    *value *= factors[if is_left { row } else { column }];
                }
            }
            c.write(memory, &columns)
        })
    }
}
