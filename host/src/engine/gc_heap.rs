//! Tells whether a component may need a heap for garbage-collected objects, without compiling it.
//!
//! wasmtime gives such a heap to an instance if its code uses structs, arrays, exceptions, or references other than to functions. The heap
//! takes the room of a linear memory, so the host must count it before it makes an instance. A component that declares none of these
//! is compiled without garbage collection and exceptions. So its code cannot use a heap that the host did not count.

use wasmparser::{
    AbstractHeapType, BinaryReaderError, CompositeInnerType, ElementItems, HeapType, Payload, RefType, SubType,
    TypeRef, ValType,
};

/// Reads a component part by part, with the modules in it.
#[derive(Default)]
pub(super) struct GcHeap {
    is_needed: bool,
}

impl GcHeap {
    /// Whether an instance of the component may need the heap.
    pub(super) fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Reads one part of the file.
    ///
    /// # Errors
    /// The part is malformed.
    pub(super) fn read(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        self.is_needed |= match payload {
            Payload::TagSection(section) => Ok(section.count() > 0),
            Payload::TypeSection(section) => any(section.clone(), |group| group.types().any(is_object)),
            Payload::ImportSection(section) => any(section.clone().into_imports(), |import| is_import(import.ty)),
            Payload::TableSection(section) => any(section.clone(), |table| is_reference(table.ty.element_type)),
            Payload::GlobalSection(section) => any(section.clone(), |global| is_value(global.ty.content_type)),
            Payload::ElementSection(section) => any(section.clone(), |element| match element.items {
                ElementItems::Expressions(ty, _) => is_reference(ty),
                ElementItems::Functions(_) => false,
            }),
            _ => return Ok(()),
        }?;
        Ok(())
    }
}

/// Whether an item of a section is such.
fn any<T>(
    section: impl IntoIterator<Item = Result<T, BinaryReaderError>>,
    is_such: impl Fn(T) -> bool,
) -> Result<bool, BinaryReaderError> {
    for item in section {
        if is_such(item?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_object(ty: &SubType) -> bool {
    match &ty.composite_type.inner {
        CompositeInnerType::Struct(_) | CompositeInnerType::Array(_) | CompositeInnerType::Cont(_) => true,
        CompositeInnerType::Func(ty) => ty.params().iter().chain(ty.results()).any(|ty| is_value(*ty)),
    }
}

fn is_import(ty: TypeRef) -> bool {
    match ty {
        TypeRef::Tag(_) => true,
        TypeRef::Table(table) => is_reference(table.element_type),
        TypeRef::Global(global) => is_value(global.content_type),
        TypeRef::Func(_) | TypeRef::FuncExact(_) | TypeRef::Memory(_) => false,
    }
}

fn is_value(ty: ValType) -> bool {
    matches!(ty, ValType::Ref(ty) if is_reference(ty))
}

/// Whether the reference may be to something other than a function. A concrete type that is none has its own entry in the type section.
fn is_reference(ty: RefType) -> bool {
    let is_function = |ty| matches!(ty, AbstractHeapType::Func | AbstractHeapType::NoFunc);
    matches!(ty.heap_type(), HeapType::Abstract { ty, .. } if !is_function(ty))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use wasmparser::Parser;

    use super::*;

    fn needs_heap(module: &str) -> bool {
        let bytes = wat::parse_str(format!("(component (component (core module {module})))")).unwrap();
        let mut heap = GcHeap::default();
        for payload in Parser::new(0).parse_all(&bytes) {
            heap.read(&payload.unwrap()).unwrap();
        }
        heap.is_needed()
    }

    #[test]
    fn a_module_needs_a_heap_for_objects_exceptions_and_references() {
        let modules = [
            "(type (struct))",
            "(type (array i8))",
            "(tag)",
            "(import \"a\" \"b\" (tag))",
            "(import \"a\" \"b\" (global externref))",
            "(table 1 externref)",
            "(global anyref (ref.null any))",
            "(elem externref (ref.null extern))",
            "(func (param i31ref))",
            "(func (result exnref) unreachable)",
        ];
        for module in modules {
            assert!(needs_heap(module), "{module}");
        }
    }

    #[test]
    fn linear_memory_and_function_references_need_no_heap() {
        let modules = [
            "(memory 1) (memory 1) (table 1 funcref) (func (param i32))",
            "(type $f (func)) (table 1 (ref null $f)) (global (ref null $f) (ref.null $f)) (func (param (ref null $f)))",
            "(elem func)",
        ];
        for module in modules {
            assert!(!needs_heap(module), "{module}");
        }
    }
}
