// Everything about who a peer is and how it proves it, in one include.
#pragma once

#include "common/crypto/auth_signature.h"
#include "common/crypto/certificate.h"
#include "common/crypto/credentials.h"
#include "common/crypto/ike_identity.h"
#include "common/crypto/private_key.h"
#include "common/crypto/trust_store.h"
