//! Counts the core instances, tables and linear memories of a component without compiling it.
//!
//! A component contains core modules and other components, and may instantiate each of them several times. A small file can so consist of
//! billions of instances, which the compiler would follow one by one. So the counts saturate, and the host checks them first.
//!
//! A module or component that is passed as an argument is not followed. Such a module counts as one core instance, and such a
//! component as nothing. When wasmtime loads the compiled code, it counts these too and refuses what exceeds the limits.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Encoding, Instance, Payload,
};

use crate::guest::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};

/// What an instance of a module or component consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CoreParts {
    core_instances: u64,
    tables: u64,
    memories: u64,
}

impl CoreParts {
    const UNKNOWN_MODULE: Self = Self { core_instances: 1, tables: 0, memories: 0 };

    fn add(&mut self, other: Self) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.tables = self.tables.saturating_add(other.tables);
        self.memories = self.memories.saturating_add(other.memories);
    }

    /// Each part that exceeds its limit: `70 core instances, more than 64`.
    pub(super) fn excess(self) -> Option<String> {
        let parts = [
            ("core instances", self.core_instances, MAX_CORE_INSTANCES),
            ("tables", self.tables, MAX_TABLES),
            ("linear memories", self.memories, MAX_MEMORIES),
        ];
        let over = parts.into_iter().filter(|(_, count, most)| *count > u64::from(*most));
        let over: Vec<_> = over.map(|(what, count, most)| format!("{count} {what}, more than {most}")).collect();
        (!over.is_empty()).then(|| over.join(", and "))
    }
}

/// A module or component whose sections are being read.
#[derive(Default)]
struct Open {
    is_module: bool,
    parts: CoreParts,
    modules: Vec<CoreParts>,
    components: Vec<CoreParts>,
}

/// Counts while a parser reads the component.
#[derive(Default)]
pub(super) struct Counter {
    /// From the outermost component to the innermost one.
    open: Vec<Open>,
    whole: CoreParts,
}

impl Counter {
    /// The sum of all parts that were read.
    pub(super) fn whole(&self) -> CoreParts {
        self.whole
    }

    /// Reads one part of the file.
    ///
    /// # Errors
    /// The part is malformed.
    pub(super) fn read(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        if let Payload::Version { encoding, .. } = payload {
            let is_module = *encoding == Encoding::Module;
            let parts = if is_module { CoreParts::UNKNOWN_MODULE } else { CoreParts::default() };
            self.open.push(Open { is_module, parts, ..Open::default() });
            return Ok(());
        }
        if let Payload::ComponentAliasSection(section) = payload {
            for alias in section.clone() {
                self.alias(&alias?);
            }
            return Ok(());
        }
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        match payload {
            Payload::TableSection(section) => open.parts.tables += u64::from(section.count()),
            Payload::MemorySection(section) => open.parts.memories += u64::from(section.count()),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        open.parts.add(open.module(module_index));
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        open.parts.add(open.component(component_index));
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => open.modules.push(CoreParts::UNKNOWN_MODULE),
                        ComponentTypeRef::Component(_) => open.components.push(CoreParts::default()),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    match export.kind {
                        ComponentExternalKind::Module => open.modules.push(open.module(export.index)),
                        ComponentExternalKind::Component => open.components.push(open.component(export.index)),
                        _ => {}
                    }
                }
            }
            Payload::End(_) => self.close(),
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        // How many components further out the alias looks, and what it finds there.
        let outer = |count: &u32| self.open.iter().rev().nth(*count as usize);
        let (module, component) = match alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                (Some(outer(count).map_or(CoreParts::UNKNOWN_MODULE, |open| open.module(*index))), None)
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                (None, Some(outer(count).map_or(CoreParts::default(), |open| open.component(*index))))
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                (Some(CoreParts::UNKNOWN_MODULE), None)
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                (None, Some(CoreParts::default()))
            }
            _ => (None, None),
        };
        if let Some(open) = self.open.last_mut() {
            open.modules.extend(module);
            open.components.extend(component);
        }
    }

    /// Ends the innermost module or component, which the one around it may now instantiate.
    fn close(&mut self) {
        let Some(closed) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(around) if closed.is_module => around.modules.push(closed.parts),
            Some(around) => around.components.push(closed.parts),
            None => self.whole = closed.parts,
        }
    }
}

impl Open {
    fn module(&self, index: u32) -> CoreParts {
        self.modules.get(index as usize).copied().unwrap_or(CoreParts::UNKNOWN_MODULE)
    }

    fn component(&self, index: u32) -> CoreParts {
        self.components.get(index as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::Parser;

    use super::*;

    fn count(component: &str) -> CoreParts {
        let bytes = wat::parse_str(component).unwrap();
        let mut counter = Counter::default();
        for payload in Parser::new(0).parse_all(&bytes) {
            counter.read(&payload.unwrap()).unwrap();
        }
        counter.whole()
    }

    #[test]
    fn every_instantiation_counts_also_in_nested_and_aliased_components() {
        let component = "(component
            (core module $m (table 1 funcref) (table 1 funcref) (memory 1))
            (core module $unused (memory 1))
            (component $inner
                (alias outer 1 $m (core module $again))
                (core instance (instantiate $again))
                (core instance (instantiate $again)))
            (core instance (instantiate $m))
            (instance $a (instantiate $inner))
            (instance (instantiate $inner)))";
        assert_eq!(count(component), CoreParts { core_instances: 5, tables: 10, memories: 5 });
    }

    #[test]
    fn a_tower_of_components_that_double_each_other_is_counted_without_end() {
        let mut tower = "(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
        for floor in 1..=80 {
            let below = floor - 1;
            tower.push_str(&format!(
                "(component $c{floor} (alias outer 1 $c{below} (component $b)) (instance (instantiate $b)) (instance (instantiate $b)))"
            ));
        }
        let parts = count(&format!("(component {tower} (instance (instantiate $c80)))"));
        assert_eq!(parts.excess().unwrap(), format!("{} core instances, more than 64", u64::MAX));
    }

    #[test]
    fn the_limits_are_named_one_by_one() {
        let parts = |core_instances, tables, memories| CoreParts { core_instances, tables, memories }.excess();
        assert_eq!(parts(64, 64, 8), None);
        assert_eq!(parts(65, 64, 8).unwrap(), "65 core instances, more than 64");
        assert_eq!(parts(1, 65, 9).unwrap(), "65 tables, more than 64, and 9 linear memories, more than 8");
    }
}
