//! The interfaces as data: for reflection, for `cube protos`, and for tests over every method.

use prost_types::FileDescriptorProto;

/// Every message, service and comment, as an encoded `FileDescriptorSet`; and [`ERROR_DETAILS`].
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");

/// The same of Cube's own packages alone, without those of others that it speaks inside the CVM.
pub const CUBE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/cube.bin");

/// The file in [`FILE_DESCRIPTOR_SET`] that describes `google.rpc.ErrorInfo`, which refusals carry.
pub const ERROR_DETAILS: &str = "google/rpc/error_details.proto";

/// Cube's .proto files: path as imports name it, and text.
pub const FILES: &[(&str, &str)] = &include!("generated/files.rs");

/// `/package.Service/Method` for each method that `file` describes.
pub fn method_paths(file: &FileDescriptorProto) -> impl Iterator<Item = String> {
    file.service.iter().flat_map(|service| {
        let methods = service.method.iter();
        methods.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

    use super::*;

    /// Cube's own.
    fn files() -> Vec<FileDescriptorProto> {
        let mut files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        files.retain(|file| file.package().starts_with("cube."));
        files
    }

    #[test]
    fn the_set_is_whole() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let names: BTreeSet<_> = files.iter().map(FileDescriptorProto::name).collect();
        assert!(names.contains(ERROR_DETAILS));
        for file in &files {
            assert!(file.dependency.iter().all(|name| names.contains(name.as_str())), "{}", file.name());
        }
    }

    #[test]
    fn the_files_are_those_that_are_described() {
        let described: BTreeSet<_> = files().iter().map(|file| file.name().to_owned()).collect();
        let texts: BTreeSet<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(described, texts);
        for (path, text) in FILES {
            assert!(!text.contains("import \"google/"), "`cube protos` writes no file of Google's: {path}");
            let (package, _) = path.rsplit_once('/').unwrap();
            assert!(text.contains(&format!("package {};", package.replace('/', "."))), "{path}");
        }
    }

    #[test]
    fn everything_is_documented() {
        let missing: Vec<_> = files().iter().flat_map(undocumented).collect();
        assert!(missing.is_empty(), "write a comment above each of these: {missing:#?}");
    }

    #[test]
    fn what_lacks_a_comment_is_found() {
        let mut file = files().into_iter().find(|file| file.name().ends_with("inference.proto")).unwrap();
        file.source_code_info = None;
        let missing = undocumented(&file).join(" ");
        for name in ["InferenceService", "Chat", "ChatRequest", "page_size", "BACKEND_KIND_OLLAMA"] {
            assert!(missing.contains(&format!("{name} ")), "{name}: {missing}");
        }
    }

    /// Field numbers in descriptor.proto, of which a location's path is made.
    const MESSAGE: i32 = 4;
    const ENUM: i32 = 5;
    const SERVICE: i32 = 6;
    const CHILD: i32 = 2;
    const NESTED: i32 = 3;
    const NESTED_ENUM: i32 = 4;
    const ONEOF: i32 = 8;

    /// Walks one file, and notes what has no comment before it.
    struct Walk {
        documented: BTreeSet<Vec<i32>>,
        missing: Vec<String>,
    }

    fn undocumented(file: &FileDescriptorProto) -> Vec<String> {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let documented = locations.filter(|location| !location.leading_comments().trim().is_empty());
        let documented = documented.map(|location| location.path.clone()).collect();
        let mut walk = Walk { documented, missing: Vec::new() };
        for (at, message) in (0..).zip(&file.message_type) {
            walk.message(&[MESSAGE, at], message);
        }
        for (at, one) in (0..).zip(&file.enum_type) {
            walk.enumeration(&[ENUM, at], one);
        }
        for (at, service) in (0..).zip(&file.service) {
            walk.note(&[SERVICE, at], service.name());
            for (method_at, method) in (0..).zip(&service.method) {
                walk.note(&[SERVICE, at, CHILD, method_at], method.name());
            }
        }
        walk.missing.iter().map(|name| format!("{name} in {}", file.name())).collect()
    }

    impl Walk {
        fn note(&mut self, path: &[i32], name: &str) {
            if !self.documented.contains(path) {
                self.missing.push(name.to_owned());
            }
        }

        fn message(&mut self, path: &[i32], message: &DescriptorProto) {
            self.note(path, message.name());
            let below = |kind, at| [path, &[kind, at]].concat();
            for (at, field) in (0..).zip(&message.field) {
                self.note(&below(CHILD, at), field.name());
            }
            // The compiler makes one for each `optional` field, with an underscore that no author writes.
            let authored = (0..).zip(&message.oneof_decl).filter(|(_, oneof)| !oneof.name().starts_with('_'));
            for (at, oneof) in authored {
                self.note(&below(ONEOF, at), oneof.name());
            }
            // And one for the entries of each map.
            let is_map = |message: &DescriptorProto| {
                message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
            };
            for (at, nested) in (0..).zip(&message.nested_type).filter(|(_, nested)| !is_map(nested)) {
                self.message(&below(NESTED, at), nested);
            }
            for (at, one) in (0..).zip(&message.enum_type) {
                self.enumeration(&below(NESTED_ENUM, at), one);
            }
        }

        fn enumeration(&mut self, path: &[i32], one: &EnumDescriptorProto) {
            self.note(path, one.name());
            for (at, value) in (0..).zip(&one.value) {
                self.note(&[path, &[CHILD, at]].concat(), value.name());
            }
        }
    }
}
