/* SPDX-License-Identifier: BSD-2-Clause */
/* pin_track.h - opening /dev/pin_track (kernel/pin_track.patch), for the backend and
 * the monitor, each of which has a file of its own. */
#ifndef PINMEM_PIN_TRACK_H
#define PINMEM_PIN_TRACK_H

#include "internal.h"
#include "uapi.h"

#define PIN_TRACK_DEVICE "/dev/pin_track"

/**
 * pin_track_open - a descriptor, closed over exec, of a device that has the features.
 * @flags: O_NONBLOCK or 0
 * @info: out: what it says of itself
 * Return: the descriptor, or -EOPNOTSUPP (it is not here, may not be opened, is another
 * device), -EMFILE, -ENFILE, -ENOMEM, with the sentence.
 */
int pin_track_open(int flags, uint64_t features, struct uapi_pin_track_info *info);

#endif
