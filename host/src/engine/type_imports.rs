//! Finds imports that contain only types. Nobody has to provide them, so every component may have them.
//!
//! The types come from a component that nobody has checked, and a parser that follows nested types can exhaust the host's stack. So this
//! reader follows none. What it does not read counts as an import that the host must provide.

use std::collections::BTreeSet;

use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentType,
    ComponentTypeRef, ComponentTypeSectionReader, InstanceTypeDeclaration, Payload, TypeBounds,
};

/// First byte of a component type.
const COMPONENT: u8 = 0x41;
/// First byte of an instance type.
const INSTANCE: u8 = 0x42;
/// First byte of a core type in an instance type.
const CORE_TYPE: u8 = 0x00;
/// First byte of a type in an instance type.
const TYPE: u8 = 0x01;

/// The imports of a component that contain only types.
#[derive(Default)]
pub(super) struct TypeImports {
    /// Whether each type of the component is an instance with nothing but types.
    types: Vec<bool>,
    names: BTreeSet<String>,
}

impl TypeImports {
    /// Whether the import contains only types.
    pub(super) fn contains(&self, import: &str) -> bool {
        self.names.contains(import)
    }

    /// Reads one part of the outermost component, which consists of these bytes.
    ///
    /// # Errors
    /// The part is malformed.
    pub(super) fn read(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentTypeSection(section) => self.read_types(bytes, section)?,
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    if let ComponentAlias::InstanceExport { kind: ComponentExternalKind::Type, .. }
                    | ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } = alias?
                    {
                        self.types.push(false);
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let import = import?;
                    match import.ty {
                        ComponentTypeRef::Type(_) => self.types.push(false),
                        ComponentTypeRef::Instance(index) if self.types.get(index as usize) == Some(&true) => {
                            self.names.insert(import.name.name.to_owned());
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    if export?.kind == ComponentExternalKind::Type {
                        self.types.push(false);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read_types(&mut self, bytes: &[u8], section: &ComponentTypeSectionReader<'_>) -> Result<(), BinaryReaderError> {
        let (start, end) = (section.original_position(), section.range().end);
        let Some(bytes) = bytes.get(start..end) else { return Ok(()) };
        let mut reader = BinaryReader::new(bytes, start);
        // A type has at least one byte, so a section cannot announce more types than it has bytes.
        let all = self.types.len() + (section.count() as usize).min(bytes.len());
        while self.types.len() < all {
            match reader.clone().read_u8()? {
                COMPONENT => break,
                INSTANCE => {
                    let Some(has_only_types) = instance_type(&mut reader)? else { break };
                    self.types.push(has_only_types);
                }
                _ => {
                    reader.read::<ComponentType<'_>>()?;
                    self.types.push(false);
                }
            }
        }
        self.types.resize(all, false);
        Ok(())
    }
}

/// Reads an instance type and whether it contains nothing but types. None if it contains types that this reader does not follow.
fn instance_type(reader: &mut BinaryReader<'_>) -> Result<Option<bool>, BinaryReaderError> {
    reader.read_u8()?;
    let mut has_only_types = true;
    for _ in 0..reader.read_var_u32()? {
        let mut ahead = reader.clone();
        match ahead.read_u8()? {
            CORE_TYPE => return Ok(None),
            TYPE if [COMPONENT, INSTANCE].contains(&ahead.read_u8()?) => return Ok(None),
            _ => {}
        }
        if let InstanceTypeDeclaration::Export { ty, .. } = reader.read()? {
            has_only_types &= matches!(ty, ComponentTypeRef::Type(TypeBounds::Eq(_)));
        }
    }
    Ok(Some(has_only_types))
}

#[cfg(test)]
mod tests {
    use wasmparser::Parser;

    use super::*;

    fn type_imports(bytes: &[u8]) -> Vec<String> {
        let mut found = TypeImports::default();
        for payload in Parser::new(0).parse_all(bytes) {
            found.read(bytes, &payload.unwrap()).unwrap();
        }
        found.names.into_iter().collect()
    }

    #[test]
    fn imports_with_functions_resources_or_nested_types_are_not_type_imports() {
        let component = r#"(component
            (type $text string)
            (import "a:b/types" (instance (type $r (record (field "x" u8))) (export "r" (type (eq $r)))))
            (import "a:b/empty" (instance))
            (import "a:b/function" (instance (export "f" (func))))
            (import "a:b/resource" (instance (export "r" (type (sub resource)))))
            (import "a:b/outer" (instance (alias outer 1 $text (type $t)) (export "t" (type (eq $t)))))
            (import "a:b/nested" (instance (type $i (instance)) (export "i" (instance (type $i)))))
            (import "run" (func)))"#;
        assert_eq!(type_imports(&wat::parse_str(component).unwrap()), ["a:b/empty", "a:b/outer", "a:b/types"]);
    }

    #[test]
    fn deeply_nested_types_and_large_counts_exhaust_nothing() {
        // The header of a component, then a section of types. Its length is a LEB128 number of five bytes.
        let component = |types: &[u8]| {
            let length = u32::try_from(types.len()).unwrap();
            let digit = |shift: u32| u8::try_from(length >> shift & 0x7f).unwrap();
            let mut bytes = b"\0asm\x0d\0\x01\0\x07".to_vec();
            bytes.extend([digit(0) | 0x80, digit(7) | 0x80, digit(14) | 0x80, digit(21) | 0x80, digit(28)]);
            bytes.extend(types);
            bytes
        };
        for kind in [INSTANCE, COMPONENT] {
            let mut nested = vec![1];
            (0..1_000_000).for_each(|_| nested.extend([kind, 1, TYPE]));
            assert_eq!(type_imports(&component(&nested)), [""; 0]);
        }
        assert_eq!(type_imports(&component(&[0xff, 0xff, 0xff, 0xff, 0x0f, COMPONENT, 0])), [""; 0]);
    }
}
