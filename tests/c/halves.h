/* float16 and bfloat16 by hand, for references that owe the library nothing. */
#ifndef FOURBIT_TESTS_HALVES_H
#define FOURBIT_TESTS_HALVES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline double bf16_value(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static inline double f16_value(uint16_t half) {
    const int exponent = half >> 10 & 31;
    const int fraction = half & 1023;
    double value;
    if (exponent == 31) {
        value = fraction == 0 ? (double)INFINITY : (double)NAN;
    } else if (exponent == 0) {
        value = ldexp(fraction, -24);
    } else {
        value = ldexp(1024 + fraction, exponent - 25);
    }
    return (half & 0x8000) != 0 ? -value : value;
}

/* To the nearest, ties to the even one; for finite numbers. */
static inline uint16_t bf16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Likewise, for numbers in the normal range of float16 and 0. */
static inline uint16_t f16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude < 0x38800000) {
        return (uint16_t)sign;
    } /* below 2^-14: flushed */
    const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((rounded >> 13) - (112 << 10)));
}

#endif
