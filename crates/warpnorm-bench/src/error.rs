//! Failures of a benchmark.

use thiserror::Error;

/// A failure of a benchmark.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The library refused what was asked for, or a device failed.
    #[error(transparent)]
    Library(#[from] warpnorm::Error),
    /// The CUDA driver failed.
    #[error("cannot {what}: the CUDA driver says {code}")]
    Driver {
        /// What was being done.
        what: &'static str,
        /// The driver's name of the failure.
        code: String,
    },
    /// cuBLAS is not there, or failed.
    #[error("cuBLAS: cannot {what}: {code}")]
    Cublas {
        /// What was being done.
        what: &'static str,
        /// cuBLAS's name of the failure.
        code: String,
    },
    /// A baseline that does not do this op.
    #[error("{0}")]
    Unsupported(String),
    /// The tensors of a cell do not fit the device.
    #[error("the tensors take {wanted} bytes, and {free} are free")]
    Memory {
        /// Bytes of one set of tensors.
        wanted: u64,
        /// Bytes that may be taken.
        free: u64,
    },
    /// A result is not the reference's, so that its time means nothing.
    #[error("{what} is wrong: relative L2 error {error:e}, wanted at most {wanted:e}")]
    Wrong {
        /// Whose result.
        what: String,
        /// Its relative L2 error against f64.
        error: f64,
        /// The tolerance.
        wanted: f64,
    },
    /// Rows that are the same came out differently.
    #[error("rows {first} and {second} hold the same values, and their results differ")]
    Rows {
        /// A row.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A stopwatch that gave something else than a time.
    #[error("a sample took {seconds} seconds, wanted a time above 0")]
    Time {
        /// What it gave.
        seconds: f64,
    },
    /// A report that contradicts itself, or is none.
    #[error("not a benchmark report: {0}")]
    Report(String),
    /// A plot that cannot be drawn.
    #[error("cannot draw a plot: {0}")]
    Plot(String),
}

#[cfg(feature = "cuda")]
pub(crate) trait During<T> {
    /// The failure as one of ours, with what was being done.
    fn during(self, what: &'static str) -> Result<T, BenchError>;
}

#[cfg(feature = "cuda")]
impl<T> During<T> for Result<T, cudarc::driver::DriverError> {
    fn during(self, what: &'static str) -> Result<T, BenchError> {
        // The error's own words come from the driver's library; its name is known without.
        self.map_err(|error| BenchError::Driver { what, code: format!("{:?}", error.0) })
    }
}

#[cfg(feature = "cublas")]
impl<T> During<T> for Result<T, cudarc::cublas::result::CublasError> {
    fn during(self, what: &'static str) -> Result<T, BenchError> {
        self.map_err(|error| BenchError::Cublas { what, code: format!("{:?}", error.0) })
    }
}
