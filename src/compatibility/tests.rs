//! Today's protos against the baseline, and every rule against a small set that breaks it.

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, OneofDescriptorProto,
    ServiceDescriptorProto,
    descriptor_proto::ReservedRange,
    enum_descriptor_proto::EnumReservedRange,
    field_descriptor_proto::{Label, Type},
};

use super::{PACKAGE_PREFIX, breaking_changes};

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/baseline.binpb");

/// Today's descriptors of this service, without comments.
fn today() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
    set.file.retain(|file| file.package().starts_with(PACKAGE_PREFIX));
    set.file.iter_mut().for_each(|file| file.source_code_info = None);
    set
}

/// `PROTO_BASELINE=write cargo test -p api protos_are_compatible` renews the baseline at a release.
#[test]
fn protos_are_compatible_with_the_newest_release() {
    if std::env::var_os("PROTO_BASELINE").is_some_and(|value| value == "write") {
        std::fs::write(BASELINE, today().encode_to_vec()).unwrap();
    }
    let baseline = FileDescriptorSet::decode(&*std::fs::read(BASELINE).unwrap()).unwrap();
    assert!(baseline.file.len() >= 6, "the baseline is incomplete");
    let changes = breaking_changes(&baseline, &today());
    assert!(changes.is_empty(), "incompatible with proto/baseline.binpb:\n{}", changes.join("\n"));
}

/// One of each element: message `Outer` with the nested `Inner`, enum `State`, service `Calls`.
fn sample() -> FileDescriptorSet {
    let field = |name: &str, number, kind: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        json_name: Some(name.to_owned()),
        ..FieldDescriptorProto::default()
    };
    let inner = DescriptorProto {
        name: Some("Inner".to_owned()),
        field: vec![field("text", 1, Type::String)],
        ..DescriptorProto::default()
    };
    let outer = DescriptorProto {
        name: Some("Outer".to_owned()),
        field: vec![
            field("count", 1, Type::Uint32),
            FieldDescriptorProto {
                oneof_index: Some(0),
                type_name: Some(".streaming.v1.Outer.Inner".to_owned()),
                ..field("inner", 2, Type::Message)
            },
        ],
        nested_type: vec![inner],
        oneof_decl: vec![OneofDescriptorProto {
            name: Some("choice".to_owned()),
            ..OneofDescriptorProto::default()
        }],
        reserved_range: vec![ReservedRange { start: Some(5), end: Some(7) }],
        reserved_name: vec!["gone".to_owned()],
        ..DescriptorProto::default()
    };
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        options: None,
    };
    let state = EnumDescriptorProto {
        name: Some("State".to_owned()),
        value: vec![value("STATE_UNSPECIFIED", 0), value("STATE_DONE", 1)],
        reserved_range: vec![EnumReservedRange { start: Some(3), end: Some(3) }],
        ..EnumDescriptorProto::default()
    };
    let call = MethodDescriptorProto {
        name: Some("Get".to_owned()),
        input_type: Some(".streaming.v1.Outer".to_owned()),
        output_type: Some(".streaming.v1.Outer".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let calls = ServiceDescriptorProto {
        name: Some("Calls".to_owned()),
        method: vec![call],
        options: None,
    };
    let file = FileDescriptorProto {
        name: Some("streaming/v1/sample.proto".to_owned()),
        package: Some("streaming.v1".to_owned()),
        message_type: vec![outer],
        enum_type: vec![state],
        service: vec![calls],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }
}

/// The changes that are reported when `edit` is applied to the sample.
fn changes(edit: impl FnOnce(&mut FileDescriptorProto)) -> Vec<String> {
    let mut edited = sample();
    edit(&mut edited.file[0]);
    breaking_changes(&sample(), &edited)
}

/// Checks that an edit of a field of `Outer` is reported with the field's name and the property.
fn assert_field_change(index: usize, wanted: &str, edit: impl FnOnce(&mut FieldDescriptorProto)) {
    let found = changes(|file| edit(&mut file.message_type[0].field[index]));
    assert!(found.iter().any(|change| change.starts_with(wanted)), "{wanted}: {found:?}");
}

#[test]
fn additions_and_moves_between_files_are_compatible() {
    assert_eq!(changes(|_| {}), [""; 0]);
    let more = changes(|file| {
        let mut field = file.message_type[0].field[0].clone();
        (field.name, field.number) = (Some("more".to_owned()), Some(9));
        file.message_type[0].field.push(field);
        let mut other = file.message_type[0].clone();
        other.name = Some("Other".to_owned());
        file.message_type.push(other);
        let mut value = file.enum_type[0].value[1].clone();
        (value.name, value.number) = (Some("STATE_FAILED".to_owned()), Some(2));
        file.enum_type[0].value.push(value);
        let mut call = file.service[0].method[0].clone();
        call.name = Some("List".to_owned());
        file.service[0].method.push(call);
        file.name = Some("streaming/v1/other.proto".to_owned());
    });
    assert_eq!(more, [""; 0]);
}

#[test]
fn changed_fields_are_named_with_the_property() {
    let outer = "streaming.v1.Outer";
    assert_field_change(0, &format!("{outer}.count: name"), |f| f.name = Some("sum".into()));
    assert_field_change(0, &format!("{outer}.count: number"), |f| f.number = Some(3));
    assert_field_change(0, &format!("{outer}.count: type"), |f| f.set_type(Type::String));
    assert_field_change(0, &format!("{outer}.count: label"), |f| f.set_label(Label::Repeated));
    assert_field_change(0, &format!("{outer}.count: presence"), |f| f.proto3_optional = Some(true));
    assert_field_change(0, &format!("{outer}.count: JSON name"), |f| {
        f.json_name = Some("n".into())
    });
    assert_field_change(0, &format!("{outer}.count: oneof"), |f| f.oneof_index = Some(0));
    assert_field_change(1, &format!("{outer}.inner: oneof"), |f| f.oneof_index = None);
    assert_field_change(1, &format!("{outer}.inner: type"), |f| {
        f.type_name = Some(".streaming.v1.Outer".into());
    });
}

#[test]
fn removed_elements_are_named() {
    type Edit = fn(&mut FileDescriptorProto);
    let edits: [(Edit, &str); 8] = [
        (|file| drop(file.message_type.pop()), "streaming.v1.Outer: message"),
        (
            |file| file.message_type[0].name = Some("New".into()),
            "streaming.v1.Outer.Inner: message",
        ),
        (|file| drop(file.message_type[0].field.remove(0)), "streaming.v1.Outer.count: removed"),
        (|file| drop(file.enum_type.pop()), "streaming.v1.State: enum"),
        (|file| drop(file.enum_type[0].value.pop()), "streaming.v1.State.STATE_DONE: enum value 1"),
        (|file| file.enum_type[0].value[1].number = Some(2), "streaming.v1.State.STATE_DONE"),
        (|file| drop(file.service.pop()), "streaming.v1.Calls: service"),
        (|file| drop(file.service[0].method.pop()), "streaming.v1.Calls.Get: RPC"),
    ];
    for (edit, wanted) in edits {
        let found = changes(edit);
        assert!(found.iter().any(|change| change.starts_with(wanted)), "{wanted}: {found:?}");
    }
}

#[test]
fn reserved_numbers_and_names_stay_reserved() {
    let reused = changes(|file| file.message_type[0].reserved_range[0].end = Some(6));
    assert_eq!(reused, ["streaming.v1.Outer: number 6 must stay reserved"]);
    let reused = changes(|file| file.message_type[0].reserved_name.clear());
    assert_eq!(reused, ["streaming.v1.Outer: name \"gone\" must stay reserved"]);
    let reused = changes(|file| file.enum_type[0].reserved_range.clear());
    assert_eq!(reused, ["streaming.v1.State: number 3 must stay reserved"]);
}

#[test]
fn changed_calls_are_named() {
    let call = |edit: fn(&mut MethodDescriptorProto)| {
        changes(|file| edit(&mut file.service[0].method[0])).join("\n")
    };
    let inner = ".streaming.v1.Outer.Inner";
    let path = "streaming.v1.Calls.Get";
    let found = call(|method| method.input_type = Some(".streaming.v1.Outer.Inner".into()));
    assert_eq!(found, format!("{path}: request changed from .streaming.v1.Outer to {inner}"));
    let found = call(|method| method.output_type = Some(".streaming.v1.Outer.Inner".into()));
    assert_eq!(found, format!("{path}: response changed from .streaming.v1.Outer to {inner}"));
    for edit in [
        (|method| method.client_streaming = Some(true)) as fn(&mut MethodDescriptorProto),
        |method| method.server_streaming = Some(true),
    ] {
        assert_eq!(call(edit), format!("{path}: streaming changed"));
    }
}
