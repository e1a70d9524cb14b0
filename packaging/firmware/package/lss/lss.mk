################################################################################
#
# lss
#
################################################################################

LSS_VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' $(BR2_EXTERNAL_LSS_PATH)/../../Cargo.toml | head -n 1)
ifeq ($(BR2_x86_64),y)
LSS_ARCH = x86_64
else ifeq ($(BR2_aarch64),y)
LSS_ARCH = aarch64
else
LSS_ARCH = armv7
endif
# Built by packaging/build and packaging/firmware/overlay: the same bytes on every machine, whatever
# Rust this Buildroot brings.
LSS_SOURCE = lss-overlay_$(LSS_VERSION)_$(LSS_ARCH).tar.gz
LSS_SITE = $(BR2_EXTERNAL_LSS_PATH)/../../target/dist
LSS_SITE_METHOD = file
LSS_STRIP_COMPONENTS = 0
LSS_LICENSE = MIT or Apache-2.0
LSS_LICENSE_FILES = usr/share/doc/lss/third-party.gz
LSS_DEPENDENCIES = busybox

# The number must stay: files on the data partition outlive this root.
define LSS_USERS
	lss 811 lss 811 * - - - Local Sender Service
endef

define LSS_INSTALL_TARGET_CMDS
	cp -a $(@D)/etc $(@D)/usr $(TARGET_DIR)/
endef

$(eval $(generic-package))
