// Stands in for common/crypto/aead.cpp where the linker finds this first: a cipher that does nothing. With it the real
// client and headend become the ceiling that tools/bench compares with: the same loops, paths and batches, no
// encryption.
//
// Only the targets bench-null-client and bench-null-headend have it. They are not installed, and no real peer answers
// them: their tags are zeros. No option of the product turns its cipher off.
#include <cstdio>
#include <cstring>

#include "common/crypto/aead.h"

namespace switchback::crypto {
namespace {

/// All that a cipher would cost beside the cipher: the call, and the tag.
class NullAead final : public Aead {
 public:
  void seal(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      std::memset(job.tag, 0, kAeadTagOctets);
      job.ok = true;
    }
  }
  void open(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) job.ok = true;
  }
  [[nodiscard]] AeadBackend backend() const noexcept override { return AeadBackend::openssl; }
};

const bool kSaid = [] {
  std::fputs("NO ENCRYPTION: this program is for measuring only\n", stderr);
  return true;
}();

}  // namespace

// Everything that aead.cpp defines, so that the linker never looks for it.
std::string_view to_string(AeadAlgorithm) noexcept { return "null"; }
std::string_view to_string(AeadBackend) noexcept { return "null"; }
std::unique_ptr<Aead> make_aead(const AeadKey&, AeadBackend) { return std::make_unique<NullAead>(); }
std::unique_ptr<Aead> make_aead(const AeadKey&) { return std::make_unique<NullAead>(); }
std::vector<AeadBackend> available_backends(AeadAlgorithm) { return {AeadBackend::openssl}; }
AeadBackend chosen_backend(AeadAlgorithm) { return AeadBackend::openssl; }

}  // namespace switchback::crypto
