//! The environment as the build script sees it. Every variable that is read is
//! noted, so that cargo can be told to run the script again when it changes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;

use super::BuildError;

/// A view of the environment that notes the names it was asked for.
pub struct Env<'a> {
    get: &'a dyn Fn(&str) -> Option<OsString>,
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Env<'a> {
    /// Reads variables through `get`.
    pub fn new(get: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { get, read: RefCell::default() }
    }

    /// The value of `name`; an empty one counts as unset.
    pub fn var(&self, name: &'static str) -> Option<OsString> {
        self.read.borrow_mut().insert(name);
        (self.get)(name).filter(|value| !value.is_empty())
    }

    /// The value of `name` as text.
    ///
    /// # Errors
    /// The value is not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, BuildError> {
        self.var(name).map(OsString::into_string).transpose().map_err(|given| BuildError::NotText { name, given })
    }

    /// The names asked for so far, sorted.
    pub fn names_read(&self) -> impl Iterator<Item = &'static str> {
        self.read.borrow().clone().into_iter()
    }
}
