// Writing files whole or not at all.
#pragma once

#include <string>
#include <utility>

#include "common/base/bytes.h"
#include "common/base/result.h"

namespace switchback::headend {

/// Reads a file of at most a megabyte.
/// @param what  for messages: "the CA certificate"
[[nodiscard]] Result<std::string, UserError> read_file(const std::string& path, const std::string& what);
/// Creates `path` with this content, synced to disk. Errors: it exists, or cannot be written; nothing is left then.
[[nodiscard]] Result<void, UserError> write_new_file(const std::string& path, ByteView content, unsigned mode);

/// A directory made beside its place and moved there when it is complete; what was not moved is deleted.
class StagedDirectory {
 public:
  /// Makes a directory of mode 0700 next to `place`. Errors: `place` exists, or its parent is not writable.
  [[nodiscard]] static Result<StagedDirectory, UserError> create(const std::string& place);
  StagedDirectory(StagedDirectory&& other) noexcept;
  StagedDirectory& operator=(StagedDirectory&&) = delete;
  ~StagedDirectory();

  /// Where to put things meanwhile.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// A directory of mode 0700 inside.
  [[nodiscard]] Result<void, UserError> make_directory(const std::string& name);
  /// Moves it to its place, atomically. Errors: somebody made `place` meanwhile.
  [[nodiscard]] Result<void, UserError> commit();

 private:
  StagedDirectory(std::string path, std::string place) noexcept : path_{std::move(path)}, place_{std::move(place)} {}
  std::string path_, place_;
};

}  // namespace switchback::headend
