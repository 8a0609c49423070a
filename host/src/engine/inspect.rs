//! Reads the interfaces of a component without compiling it.

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::core_parts::Counter;
use super::gc_heap::GcHeap;
use super::settings::{Target, Wasi};
use super::type_imports::TypeImports;
use crate::printable::excerpt;

/// Maximum imports of a component. The same limit applies to exports. A service with a dozen grants has about fifty imports.
const MAX_NAMES: usize = 500;

/// Maximum length of the name of an import or export.
const NAME_BYTES: usize = 512;

/// How many exports a refusal lists.
const LISTED_EXPORTS: usize = 10;

/// The exported interface that the host calls for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerKind {
    /// `comptoir:platform/handler@0.1.x`. The component must also export a description.
    Plain,
    /// `wasi:http/incoming-handler@0.2.x`.
    HttpP2,
    /// `wasi:http/handler@0.3.x`.
    HttpP3,
}

impl HandlerKind {
    /// The WASI version of components with this handler.
    pub fn wasi(self) -> Wasi {
        match self {
            Self::Plain | Self::HttpP2 => Wasi::P2,
            Self::HttpP3 => Wasi::P3,
        }
    }

    /// The name of the exported interface, without the patch version.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Plain => "comptoir:platform/handler@0.1",
            Self::HttpP2 => "wasi:http/incoming-handler@0.2",
            Self::HttpP3 => "wasi:http/handler@0.3",
        }
    }
}

/// The imports and exports of a component, as far as the host needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// The handler. If the component exports several, the first one in the order of [`HandlerKind`].
    pub handler: HandlerKind,
    /// Whether it exports `comptoir:platform/service`.
    pub describes_itself: bool,
    /// Whether its code may need a heap for garbage-collected objects and exceptions.
    pub gc_heap: bool,
    /// The names of its imports, such as `wasi:io/streams@0.2.6`.
    pub imports: Vec<String>,
    /// Those of the imports that the host must provide. All others contain only types.
    pub required: Vec<String>,
}

impl Interfaces {
    /// What the component is compiled for.
    pub fn target(&self) -> Target {
        Target { wasi: self.handler.wasi(), gc_heap: self.gc_heap }
    }
}

/// Why a file cannot be a service.
#[derive(Debug, thiserror::Error)]
pub enum NotAService {
    /// Not WebAssembly, truncated, or malformed.
    #[error("it is not a WebAssembly component: {0}")]
    Garbage(String),
    /// A core module.
    #[error("it is a core module: build it as a component, for example with `cargo build --target wasm32-wasip2`")]
    CoreModule,
    /// A component without a handler.
    #[error(
        "it exports neither `wasi:http/incoming-handler@0.2.x` nor `wasi:http/handler@0.3.x`, nor \
         `comptoir:platform/handler@0.1.x` with `comptoir:platform/service@0.1.x`, so it cannot answer HTTP requests. It \
         exports: {0}"
    )]
    WrongWorld(String),
    /// Too many imports or exports, or a name that is too long.
    #[error("{0}: build it with fewer interfaces")]
    TooManyNames(String),
    /// Too many core instances, tables or linear memories.
    #[error("it has {0}: compose it of fewer components")]
    TooManyParts(String),
}

/// Reads a component's imports and exports.
///
/// # Errors
/// The file is not a component that can be a service.
pub fn inspect(bytes: &[u8]) -> Result<Interfaces, NotAService> {
    // Only the first part of the parser's message is for people. After ` - expected`, it lists bytes.
    let garbage = |error: wasmparser::BinaryReaderError| {
        let text = error.message();
        NotAService::Garbage(excerpt(text.split(" - expected").next().unwrap_or(text).trim(), NAME_BYTES))
    };
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let (mut counter, mut gc_heap, mut type_imports) = (Counter::default(), GcHeap::default(), TypeImports::default());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(garbage)?;
        counter.read(&payload).map_err(garbage)?;
        gc_heap.read(&payload).map_err(garbage)?;
        if depth == 1 {
            type_imports.read(bytes, &payload).map_err(garbage)?;
        }
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(NotAService::CoreModule),
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    add_name(&mut imports, import.map_err(garbage)?.name.name, "imports")?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    add_name(&mut exports, export.map_err(garbage)?.name.name, "exports")?;
                }
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(NotAService::Garbage("it is cut off".to_owned()));
    }
    let has = |prefix: &str| exports.iter().any(|export| export.starts_with(prefix));
    let describes_itself = has("comptoir:platform/service@0.1.");
    let is_usable = |kind: &HandlerKind| *kind != HandlerKind::Plain || describes_itself;
    let kinds = [HandlerKind::Plain, HandlerKind::HttpP2, HandlerKind::HttpP3].into_iter();
    let handler = kinds.filter(is_usable).find(|kind| has(&format!("{}.", kind.interface())));
    let handler = handler.ok_or_else(|| NotAService::WrongWorld(list(&exports)))?;
    if let Some(excess) = counter.whole().excess() {
        return Err(NotAService::TooManyParts(excess));
    }
    let required = imports.iter().filter(|import| !type_imports.contains(import)).cloned().collect();
    Ok(Interfaces { handler, describes_itself, gc_heap: gc_heap.is_needed(), imports, required })
}

fn add_name(names: &mut Vec<String>, name: &str, what: &str) -> Result<(), NotAService> {
    if names.len() == MAX_NAMES {
        return Err(NotAService::TooManyNames(format!("it has more than {MAX_NAMES} {what}")));
    }
    if name.len() > NAME_BYTES {
        let bytes = name.len();
        return Err(NotAService::TooManyNames(format!(
            "a name of its {what} has {bytes} bytes, more than {NAME_BYTES}"
        )));
    }
    names.push(name.to_owned());
    Ok(())
}

/// The first few names and the number of the others.
fn list(names: &[String]) -> String {
    let listed = names[..names.len().min(LISTED_EXPORTS)].join(", ");
    let others = names.len().saturating_sub(LISTED_EXPORTS);
    if others > 0 { format!("{listed} and {others} more") } else { listed }
}

/// The functions that a component imports from `comptoir:platform/<interface>`.
pub fn imported_functions(component: &Component, interface: &str) -> Vec<String> {
    let (imported, engine) = (component.component_type(), component.engine());
    let prefix = format!("comptoir:platform/{interface}@");
    let mut functions = Vec::new();
    for (_, import) in imported.imports(engine).filter(|(name, _)| name.starts_with(&prefix)) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        let exports = instance.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
        functions.extend(exports.map(|(name, _)| name.to_owned()));
    }
    functions
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn garbage_truncated_files_and_core_modules_are_distinguished() {
        let module = wat::parse_str("(module)").unwrap();
        let component = wat::parse_str(r#"(component (core module))"#).unwrap();
        assert!(inspect(b"hello").unwrap_err().to_string().contains("not a WebAssembly component"));
        assert!(inspect(b"").unwrap_err().to_string().contains("not a WebAssembly component"));
        assert!(
            inspect(&component[..component.len() - 2]).unwrap_err().to_string().contains("not a WebAssembly component")
        );
        assert!(matches!(inspect(&module), Err(NotAService::CoreModule)));
        assert!(matches!(inspect(&component), Err(NotAService::WrongWorld(_))));
    }

    #[test]
    fn imports_and_the_handler_are_read_without_compiling() {
        let component = r#"(component
            (import "wasi:sockets/tcp@0.2.6" (instance (export "f" (func))))
            (import "wasi:keyvalue/types@0.2.0" (instance))
            (instance $handler)
            (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;
        let interfaces = inspect(&wat::parse_str(component).unwrap()).unwrap();
        assert_eq!(interfaces.handler, HandlerKind::HttpP2);
        assert!(!interfaces.describes_itself);
        assert_eq!(interfaces.imports, ["wasi:sockets/tcp@0.2.6", "wasi:keyvalue/types@0.2.0"]);
        assert_eq!(interfaces.required, ["wasi:sockets/tcp@0.2.6"], "the other import contains only types");
    }

    #[test]
    fn imports_and_exports_are_limited_and_so_is_the_refusal() {
        let refusal = |parts: String| {
            let refused = inspect(&wat::parse_str(format!("(component {parts})")).unwrap()).unwrap_err();
            let text = refused.to_string();
            assert!(text.len() < 8_000, "{} bytes", text.len());
            text
        };
        let imports =
            |count: usize| (0..count).map(|n| format!("(import \"a:b/i{n}\" (instance))")).collect::<String>();
        let exports =
            |count: usize| (0..count).map(|n| format!("(export \"a:b/e{n}\" (instance $x))")).collect::<String>();
        assert!(refusal(imports(MAX_NAMES + 1)).contains("more than 500 imports"));
        assert!(refusal(imports(MAX_NAMES)).contains("it exports neither"));
        assert!(refusal(format!("(instance $x) {}", exports(MAX_NAMES + 1))).contains("more than 500 exports"));
        assert!(refusal(format!("(instance $x) {}", exports(MAX_NAMES))).ends_with("a:b/e9 and 490 more"));
        let long = format!("(import \"a:b/{}\" (instance))", "x".repeat(NAME_BYTES));
        assert!(refusal(long).contains("has 516 bytes, more than 512"));
    }
}
