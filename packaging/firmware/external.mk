include $(sort $(wildcard $(BR2_EXTERNAL_LSS_PATH)/package/*/*.mk))
