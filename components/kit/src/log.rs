//! Log lines with a level: `kit::log::warn!("the order {id} has no address")`.
//!
//! The host adds the service and the request, and writes a line at once. [`debug!`](debug) is hidden unless the operator asks for it:
//! `--log info,guest=debug`. All lines of a request share the limit `log` of the manifest, 16 KiB, with what it prints.
//!
//! A line prevents caching of the response. Never log a token, a password or a body.

#[cfg(not(feature = "native"))]
use crate::bindings::wasi::logging::logging as host;
#[cfg(feature = "native")]
use crate::native::log as host;

pub use crate::bindings::wasi::logging::logging::Level;

#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info, __warn as warn};

/// Writes a line. `context` names the part of the service that writes it: the macros use the path of the module.
pub fn write(level: Level, context: &str, message: &str) {
    host::log(level, context, message);
}

/// Logs what failed. Takes arguments as `format!` does.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Error, module_path!(), &format!($($argument)+)) };
}

/// Logs what may become an error. Takes arguments as `format!` does.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Warn, module_path!(), &format!($($argument)+)) };
}

/// Logs what the operator may want to know. Takes arguments as `format!` does.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Info, module_path!(), &format!($($argument)+)) };
}

/// Logs what helps the author of the service. Takes arguments as `format!` does.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Debug, module_path!(), &format!($($argument)+)) };
}
