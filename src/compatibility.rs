//! Compares today's protos with `proto/baseline.binpb`, the descriptors of the newest release, by
//! the rules of docs/releasing.md: elements are only added. Programs of two releases run together
//! during an update.
//!
//! Elements are found by their full names, so a message may move to another file of its package.

use std::collections::{BTreeMap, HashMap};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Packages of this service; the descriptors of Google's messages are not compared.
const PACKAGE_PREFIX: &str = "streaming.";

/// The messages, enums and services of a descriptor set, by full name.
#[derive(Default)]
struct Elements<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
    services: BTreeMap<String, &'a ServiceDescriptorProto>,
}

impl<'a> Elements<'a> {
    fn of(set: &'a FileDescriptorSet) -> Self {
        let mut found = Self::default();
        for file in set.file.iter().filter(|file| file.package().starts_with(PACKAGE_PREFIX)) {
            for message in &file.message_type {
                found.add_message(file.package(), message);
            }
            found.add_enums(file.package(), &file.enum_type);
            for service in &file.service {
                found.services.insert(format!("{}.{}", file.package(), service.name()), service);
            }
        }
        found
    }

    fn add_message(&mut self, parent: &str, message: &'a DescriptorProto) {
        let name = format!("{parent}.{}", message.name());
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        self.add_enums(&name, &message.enum_type);
        self.messages.insert(name, message);
    }

    fn add_enums(&mut self, parent: &str, enums: &'a [EnumDescriptorProto]) {
        self.enums.extend(enums.iter().map(|one| (format!("{parent}.{}", one.name()), one)));
    }
}

/// Lists every incompatible change from `old` to `new`, each with the name of the element.
fn breaking_changes(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (Elements::of(old), Elements::of(new));
    let mut changes = Vec::new();
    for (name, message) in &old.messages {
        match new.messages.get(name) {
            None => changes.push(format!("{name}: message removed or renamed")),
            Some(now) => compare_messages(name, message, now, &mut changes),
        }
    }
    for (name, one) in &old.enums {
        match new.enums.get(name) {
            None => changes.push(format!("{name}: enum removed or renamed")),
            Some(now) => compare_enums(name, one, now, &mut changes),
        }
    }
    for (name, service) in &old.services {
        match new.services.get(name) {
            None => changes.push(format!("{name}: service removed or renamed")),
            Some(now) => compare_services(name, service, now, &mut changes),
        }
    }
    changes
}

fn compare_messages(
    name: &str,
    old: &DescriptorProto,
    new: &DescriptorProto,
    changes: &mut Vec<String>,
) {
    let fields: HashMap<i32, &FieldDescriptorProto> =
        new.field.iter().map(|field| (field.number(), field)).collect();
    for field in &old.field {
        let path = format!("{name}.{}", field.name());
        let Some(now) = fields.get(&field.number()) else {
            let moved = new.field.iter().any(|other| other.name() == field.name());
            let what = if moved { "number changed from" } else { "removed field" };
            changes.push(format!("{path}: {what} {}", field.number()));
            continue;
        };
        let (before, after) = (shape(old, field), shape(new, now));
        for ((property, before), (_, after)) in before.into_iter().zip(after) {
            if before != after {
                changes.push(format!("{path}: {property} changed from {before:?} to {after:?}"));
            }
        }
    }
    // The end of a message's range is exclusive.
    let ranges = old.reserved_range.iter().map(|range| (range.start(), range.end() - 1));
    let kept: Vec<_> =
        new.reserved_range.iter().map(|range| (range.start(), range.end() - 1)).collect();
    let lost = unreserved(ranges, &kept, (&old.reserved_name, &new.reserved_name));
    changes.extend(lost.into_iter().map(|lost| format!("{name}: {lost} must stay reserved")));
}

/// The properties of a field that must not change.
fn shape(message: &DescriptorProto, field: &FieldDescriptorProto) -> [(&'static str, String); 6] {
    let oneof = field.oneof_index.and_then(|index| message.oneof_decl.get(index as usize));
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        kind => kind.as_str_name().to_owned(),
    };
    let label = if field.label() == Label::Repeated { "repeated" } else { "singular" };
    [
        ("name", field.name().to_owned()),
        ("type", kind),
        ("label", label.to_owned()),
        ("presence", field.proto3_optional().to_string()),
        ("oneof", oneof.map(|oneof| oneof.name().to_owned()).unwrap_or_default()),
        ("JSON name", field.json_name().to_owned()),
    ]
}

fn compare_enums(
    name: &str,
    old: &EnumDescriptorProto,
    new: &EnumDescriptorProto,
    changes: &mut Vec<String>,
) {
    for value in &old.value {
        // Several names may share a number, so both are compared.
        let same = |now: &&_| -> bool {
            let now: &prost_types::EnumValueDescriptorProto = now;
            now.name() == value.name() && now.number() == value.number()
        };
        if !new.value.iter().any(|now| same(&now)) {
            let (value, number) = (value.name(), value.number());
            changes.push(format!("{name}.{value}: enum value {number} removed or renamed"));
        }
    }
    // The end of an enum's range is inclusive.
    let ranges = old.reserved_range.iter().map(|range| (range.start(), range.end()));
    let kept: Vec<_> =
        new.reserved_range.iter().map(|range| (range.start(), range.end())).collect();
    let lost = unreserved(ranges, &kept, (&old.reserved_name, &new.reserved_name));
    changes.extend(lost.into_iter().map(|lost| format!("{name}: {lost} must stay reserved")));
}

/// Reserved numbers and names that may be used again.
fn unreserved(
    old: impl Iterator<Item = (i32, i32)>,
    new: &[(i32, i32)],
    (old_names, new_names): (&[String], &[String]),
) -> Vec<String> {
    let covered = |number: &i32| new.iter().any(|(start, end)| (start..=end).contains(&number));
    // An open range ends at the greatest number; its first numbers are enough to notice a change.
    let numbers = old.flat_map(|(start, end)| start..=end.min(start.saturating_add(1000)));
    let numbers =
        numbers.filter(|number| !covered(number)).map(|number| format!("number {number}"));
    let names = old_names.iter().filter(|name| !new_names.contains(name));
    numbers.chain(names.map(|name| format!("name {name:?}"))).collect()
}

fn compare_services(
    name: &str,
    old: &ServiceDescriptorProto,
    new: &ServiceDescriptorProto,
    changes: &mut Vec<String>,
) {
    for method in &old.method {
        let path = format!("{name}.{}", method.name());
        let Some(now) = new.method.iter().find(|now| now.name() == method.name()) else {
            changes.push(format!("{path}: RPC removed or renamed"));
            continue;
        };
        let pairs = [
            ("request", method.input_type(), now.input_type()),
            ("response", method.output_type(), now.output_type()),
        ];
        for (property, before, after) in pairs {
            if before != after {
                changes.push(format!("{path}: {property} changed from {before} to {after}"));
            }
        }
        let streams = |method: &prost_types::MethodDescriptorProto| {
            (method.client_streaming(), method.server_streaming())
        };
        if streams(method) != streams(now) {
            changes.push(format!("{path}: streaming changed"));
        }
    }
}

mod tests;
